/**
 * Attributes: `src` (the base URL, `/v1`), `token-url` (answers a JWT as text),
 * `categories`, `max` (99), `lang`, `texts` (JSON), `document-title`, `app-badge`.
 */
export class RoundelBell extends HTMLElement {
    /** @type {Inbox | null} */ inbox: Inbox | null;
    connectedCallback(): void;
    disconnectedCallback(): void;
    #private;
}
export type Inbox = import("./roundel.js").Inbox;
export type Item = import("./roundel.js").Item;
