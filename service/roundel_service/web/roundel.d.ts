/**
 * Follow the mailbox of the user; resolves when its state is known.
 * @param {Options} options
 * @returns {Promise<Inbox>}
 */
export function connect(options?: Options): Promise<Inbox>;
/** Parses an event stream (WHATWG HTML 9.2.6), piece by piece. */
export class Parser {
    /** @param {(type: string, data: string, id: string) => void} onEvent */
    constructor(onEvent: (type: string, data: string, id: string) => void);
    lastEventId: string;
    /** @type {number | null} The reconnection time that the stream has set. */ retry: number | null;
    onEvent: (type: string, data: string, id: string) => void;
    /** @param {string} text is the next piece, decoded */
    push(text: string): void;
    #private;
}
/** The state of a mailbox at one (epoch, v), changed by events alone. */
export class Mailbox {
    /** @type {Badge | null} */ badge: Badge | null;
    /** @type {Map<string, Item>} by id, newest first. */ items: Map<string, Item>;
    /** The `before` of the next older page, or null. @type {number | null} */ next: number | null;
    cursor: string;
    /**
     * Apply one event; return false if an event is missing before it.
     * @param {string} type
     * @param {any} data
     * @param {string} id
     * @returns {boolean}
     */
    apply(type: string, data: any, id: string): boolean;
    reset(): void;
    #private;
}
/**
 * Follows one user's mailbox; `connect()` makes one. Its events are `badge`, `items`,
 * `status` and `auth`.
 */
export class Inbox extends EventTarget {
    /** @param {Options} options */
    constructor(options?: Options);
    /** @type {Status} */
    status: Status;
    options: {
        url: string;
        level?: "badge" | "items";
        categories?: string[];
        token?: string | ((renew: boolean) => string | Promise<string>);
        transport?: "fetch" | "eventsource";
        ticket?: () => string | Promise<string>;
        share?: boolean | string;
        random?: () => number;
    };
    /** The badge, as it will be when the service has what is pending. */
    get badge(): {
        unread: number;
        unseen: number;
        isPending: boolean;
        epoch: string;
        v: number;
        more: boolean;
        by: Record<string, Count>;
    } | null;
    /** The items, newest first, without those of older pages. */
    get items(): Item[];
    /** Whether older items can be loaded with `loadMore()`. */
    get hasMore(): boolean;
    /**
     * Call *listener* now and after each change; returns a function that ends it.
     * @param {(inbox: Inbox) => void} listener
     */
    subscribe(listener: (inbox: Inbox) => void): () => void;
    /**
     * Load the next older page of the list.
     * @returns {Promise<void>}
     */
    loadMore(): Promise<void>;
    /** Apply operations of the contract; they show at once. @param {Op[]} ops */
    apply(...ops: Op[]): Promise<void>;
    /** @param {string[]} ids */
    markRead(...ids: string[]): Promise<void>;
    /** Mark everything that the page shows as read, and nothing that comes meanwhile. */
    markAllRead(): Promise<void>;
    /** @param {string[]} ids */
    archive(...ids: string[]): Promise<void>;
    archiveAll(): Promise<void>;
    /** @param {string[]} ids */
    remove(...ids: string[]): Promise<void>;
    /** Say that the user has seen the items up to *seq*. @param {number} seq */
    seen(seq: number): Promise<void>;
    /** End the stream for good. */
    close(): void;
    #private;
}
export type Count = {
    unread: number;
    unseen: number;
};
export type Badge = Count & {
    epoch: string;
    v: number;
    more: boolean;
    by: Record<string, Count>;
};
export type Item = {
    id: string;
    seq: number;
    category: string;
    title: string;
    body: string | null;
    url: string | null;
    icon: string | null;
    key: string | null;
    source: string | null;
    data: any;
    topic: string | null;
    created_at: number;
    updated_at: number | null;
    expires_at: number | null;
    seen: boolean;
    read: boolean;
    archived: boolean;
};
export type State = "connecting" | "open" | "waiting" | "closed";
export type Status = {
    state: State;
    resume: string;
    reason: string;
    retryAt: number;
};
export type Options = {
    url?: string;
    level?: "badge" | "items";
    categories?: string[];
    token?: string | ((renew: boolean) => string | Promise<string>);
    transport?: "fetch" | "eventsource";
    ticket?: () => string | Promise<string>;
    share?: boolean | string;
    random?: () => number;
};
export type Op = {
    [verb: string]: any;
};
export type Kept = {
    badge: Badge | null;
    items: Map<string, Item>;
    next: number | null;
    cursor: string;
};
export type Pending = {
    op_id: string;
    ops: Op[];
    made?: string;
    epoch?: string;
    v?: number;
};
