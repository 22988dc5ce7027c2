// <roundel-bell>: a bell with a badge, and a list of notifications in a pop-over.
//
// It follows the user's mailbox with `connect()` of roundel.js, and has no state of its
// own besides what is open. It needs no inline script or style, so it runs under
// `Content-Security-Policy: default-src 'self'`.

import { connect } from "./roundel.js";

/** @typedef {import("./roundel.js").Inbox} Inbox */
/** @typedef {import("./roundel.js").Item} Item */

/** Duration of a frame, in milliseconds. */
const FRAME = 16;

/** Pause between two announcements to screen readers, in milliseconds. */
const ANNOUNCE_EVERY = 5_000;

/** @type {Record<string, Record<string, string>>} */
const TEXTS = {
  en: {
    label: "Notifications",
    unread: "{n} unread",
    readAll: "Mark all as read",
    all: "All",
    empty: "You are all caught up.",
    loading: "Loading …",
    offline: "Offline. The list may be out of date.",
    closed: "Signed out. Reload the page.",
    new: "{n} new notifications",
    newOne: "New notification: {title}",
    isUnread: "unread",
    archive: "Archive",
  },
  de: {
    label: "Benachrichtigungen",
    unread: "{n} ungelesen",
    readAll: "Alle gelesen",
    all: "Alle",
    empty: "Alles gelesen.",
    loading: "Wird geladen …",
    offline: "Offline. Die Liste ist vielleicht veraltet.",
    closed: "Abgemeldet. Bitte die Seite neu laden.",
    new: "{n} neue Benachrichtigungen",
    newOne: "Neue Benachrichtigung: {title}",
    isUnread: "ungelesen",
    archive: "Archivieren",
  },
};

const STYLE = `
  :host { display: inline-block; position: relative; font: inherit; line-height: 1.4;
    --accent: var(--roundel-accent, light-dark(#b3261e, #f2836b));
    --on-accent: var(--roundel-on-accent, light-dark(#fff, #2b0905));
    --surface: var(--roundel-surface, light-dark(#fff, #1d1b20));
    --text: var(--roundel-text, light-dark(#1d1b20, #ece6f0));
    --quiet: var(--roundel-quiet, light-dark(#5c5a61, #b0acb6));
    --line: var(--roundel-line, light-dark(#e3e1e6, #38353d));
    --hover: var(--roundel-hover, light-dark(#f4f2f7, #28252c)); }
  :host([hidden]) { display: none; }
  * { box-sizing: border-box; }
  button { font: inherit; color: inherit; background: none; border: 0; cursor: pointer; }
  :focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
  #bell { position: relative; display: grid; place-items: center; padding: 0;
    inline-size: 2.75em; block-size: 2.75em; border-radius: 50%; color: inherit; }
  #bell:hover { background: color-mix(in srgb, currentColor 10%, transparent); }
  #bell svg { inline-size: 1.5em; block-size: 1.5em; }
  #badge { position: absolute; inset-block-start: -.1em; inset-inline-end: -.5em;
    unicode-bidi: plaintext;
    min-inline-size: 1.6em; padding: 0 .4em; border-radius: 1em; font-size: .72em;
    font-weight: 700; line-height: 1.6; text-align: center; white-space: nowrap;
    color: var(--on-accent); background: var(--accent);
    border: 2px solid transparent; background-clip: padding-box; }
  #badge:empty { display: none; }
  #panel { position: fixed; margin: 0; padding: 0; inset: auto; border: 1px solid var(--line);
    border-radius: .75rem; inline-size: min(24rem, 100vw - 1rem);
    max-block-size: min(34rem, 100dvh - 5rem); overflow: hidden; color: var(--text);
    background: var(--surface); box-shadow: 0 8px 32px rgb(0 0 0 / .18);
    font-size: .9375rem; }
  #panel:popover-open { display: flex; flex-direction: column; }
  header { display: flex; align-items: center; gap: .5rem; padding: .75rem 1rem .5rem; }
  h2 { flex: 1; margin: 0; font-size: 1.05rem; font-weight: 650; }
  header button { padding: .3rem .5rem; border-radius: .4rem; font-size: .85em;
    color: var(--quiet); }
  header button:hover { background: var(--hover); color: var(--text); }
  header button:disabled { visibility: hidden; }
  [role=tablist] { display: flex; flex: none; gap: .25rem; padding: 0 .75rem .5rem; overflow-x: auto;
    scrollbar-width: none; }
  [role=tablist]:empty, #note:empty { display: none; }
  [role=tab] { padding: .2rem .65rem; border-radius: 1rem; font-size: .85em; flex: none;
    color: var(--quiet); border: 1px solid transparent; }
  [role=tab][aria-selected=true] { color: var(--text); border-color: var(--line);
    background: var(--hover); font-weight: 600; }
  #note { margin: 0; padding: .4rem 1rem; font-size: .85em; color: var(--quiet);
    background: var(--hover); }
  #list { margin: 0; padding: 0; list-style: none; overflow-y: auto; flex: 1;
    overscroll-behavior: contain; border-block-start: 1px solid var(--line); }
  li { position: relative; display: flex; border-block-end: 1px solid var(--line); }
  li:hover, li:focus-within { background: var(--hover); }
  .open { flex: 1; min-inline-size: 0; display: block; padding: .7rem 1rem .7rem 1.75rem;
    padding-inline: 1.75rem 1rem; text-align: start; color: inherit;
    text-decoration: none; }
  .open:focus-visible { outline-offset: -3px; }
  .title, .body { overflow-wrap: anywhere; }
  .title, .body { text-align: left; display: -webkit-box; -webkit-box-orient: vertical;
    -webkit-line-clamp: 2; overflow: hidden; }
  .title { -webkit-line-clamp: 3; }
  .open:dir(rtl) > * { text-align: right; }
  .body { color: var(--quiet); }
  .when { font-size: .8em; color: var(--quiet); }
  li.unread .title { font-weight: 650; }
  li.unread .open::before { content: ""; position: absolute; inset-inline-start: .7rem;
    inset-block-start: 1.2rem; inline-size: .5rem; block-size: .5rem; border-radius: 50%;
    background: var(--accent); }
  .archive { align-self: center; padding: .45rem; margin-inline-end: .5rem; opacity: 0;
    border-radius: .4rem; color: var(--quiet); line-height: 0; }
  .archive svg { inline-size: 1.1rem; block-size: 1.1rem; }
  li:hover .archive, li:focus-within .archive { opacity: 1; }
  @media (hover: none) { .archive { opacity: 1; } }
  #empty { padding: 2.5rem 1rem; text-align: center; color: var(--quiet); }
  #more { block-size: 1px; border: 0; }
  .hidden { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden;
    clip-path: inset(50%); white-space: nowrap; }
  @media (prefers-reduced-motion: no-preference) {
    #badge.new { animation: pop .25s ease-out; }
    @keyframes pop { from { scale: .6; } 60% { scale: 1.15; } }
  }
  @media (forced-colors: active) {
    #badge { background: Highlight; color: HighlightText; forced-color-adjust: none; }
    li.unread .open::before { background: Highlight; forced-color-adjust: none; }
    [role=tab][aria-selected=true] { border-color: Highlight; }
    #panel, #bell { border: 1px solid CanvasText; }
  }
`;

const MARKUP = `
  <button id="bell" part="bell" type="button" aria-haspopup="dialog" aria-expanded="false">
    <slot name="icon"><svg viewBox="0 0 24 24" fill="none" stroke="currentColor"
      stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d="M6 9a6 6 0 0 1 12 0c0 5 2 6.5 2 6.5H4S6 14 6 9Z"/><path d="M10 19.5a2.2 2.2 0 0 0 4 0"/>
    </svg></slot>
    <span id="badge" part="badge" aria-hidden="true"></span>
  </button>
  <div id="panel" part="panel" role="dialog" popover="auto">
    <header part="header"><h2 id="heading" tabindex="-1"></h2>
      <button id="all" part="read-all" type="button"></button></header>
    <div id="tabs" part="tabs" role="tablist"></div>
    <p id="note" part="note" role="status"></p>
    <ul id="list" part="list" role="list"></ul>
    <slot name="footer"></slot>
  </div>
  <div id="live" class="hidden" aria-live="polite"></div>
`;

const ARCHIVE = `<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8"
  stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path
  d="M4 5h16v4H4zM5.5 9v10h13V9M10 13h4"/></svg>`;

/**
 * Attributes: `src` (the base URL, `/v1`), `token-url` (answers a JWT as text),
 * `categories`, `max` (99), `lang`, `texts` (JSON), `document-title`, `app-badge`.
 */
export class RoundelBell extends HTMLElement {
  /** @type {Inbox | null} */ inbox = null;
  #root = this.attachShadow({ mode: "open" });
  #category = "";
  /** The highest `seq` that was announced. */ #announced = 0;
  #lastAnnouncement = -ANNOUNCE_EVERY;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #announcing;
  #stop = new AbortController();
  /** The title of the page without a number, and the one with it. */ #title = "";
  #shownTitle = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #rendering;
  /** Makes the list look at its end. */ #observer = new IntersectionObserver(([entry]) => {
    if (entry.isIntersecting) this.inbox?.loadMore().catch(() => {});
  });

  connectedCallback() {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    this.#root.adoptedStyleSheets = [sheet];
    setMarkup(this.#root, MARKUP);
    this.#stop = new AbortController();
    this.#listen();
    this.#connect();
  }

  disconnectedCallback() {
    this.#stop.abort();
    this.#observer.disconnect();
    clearTimeout(this.#announcing);
    this.#announcing = undefined;
    // A timer that is left would swallow the first change after the next connection.
    clearTimeout(this.#rendering);
    this.#rendering = undefined;
    if (this.hasAttribute("document-title")) this.#renderTitle("");
    this.inbox?.close();
    this.inbox = null;
  }

  /** @param {string} id @returns {any} */
  #get(id) {
    return this.#root.getElementById(id);
  }

  /** The language of the page, or that of the browser if the page names none. */
  get #language() {
    const language = this.closest("[lang]")?.getAttribute("lang")?.replaceAll("_", "-");
    try {
      return Intl.getCanonicalLocales(language || [])[0] ?? navigator.language;
    } catch {
      return navigator.language;
    }
  }

  /** @param {string} name @param {Record<string, any>} values @returns {string} */
  #text(name, values = {}) {
    const own = JSON.parse(this.getAttribute("texts") ?? "{}");
    const texts = { ...TEXTS.en, ...TEXTS[this.#language.slice(0, 2)], ...own };
    /** @type {string} */ const text = texts[name];
    return text.replace(/\{(\w+)\}/g, (_, key) => String(values[key]));
  }

  #listen() {
    const { signal } = this.#stop;
    const [bell, panel, list] = ["bell", "panel", "list"].map((id) => this.#get(id));
    bell.addEventListener("click", () => this.#toggle(), { signal });
    const onToggle = () => {
      bell.setAttribute("aria-expanded", String(this.#isOpen));
      // The focus was in the list, whose rows are replaced.
      const isLost = [document.body, this].includes(/** @type {any} */ (document.activeElement));
      if (!this.#isOpen && isLost) bell.focus();
    };
    panel.addEventListener("toggle", onToggle, { signal });
    this.#get("all").addEventListener("click", () => this.inbox?.markAllRead(), { signal });
    list.addEventListener("click", (/** @type {any} */ event) => this.#onClick(event), { signal });
    panel.addEventListener("keydown", (/** @type {any} */ event) => this.#onKey(event), { signal });
  }

  #connect() {
    const tokenUrl = this.getAttribute("token-url");
    const categories = this.getAttribute("categories");
    const load = async () => {
      const response = await fetch(/** @type {string} */ (tokenUrl), {
        credentials: "include",
        cache: "no-store",
      });
      if (!response.ok) throw new Error(`status ${response.status}`);
      return (await response.text()).trim();
    };
    const options = {
      url: this.getAttribute("src") ?? "/v1",
      ...(categories && { categories: categories.split(",").map((name) => name.trim()) }),
      ...(tokenUrl && { token: load }),
    };
    // Once a frame, whatever number of changes there are. A hidden tab has no frames, and
    // its title is what the user sees of it.
    const { signal } = this.#stop;
    const render = () => {
      if (signal.aborted) return;
      this.#rendering ??= setTimeout(() => {
        this.#rendering = undefined;
        if (!signal.aborted) this.#render();
      }, FRAME);
    };
    this.#render();
    connect(options).then(
      (inbox) => {
        if (signal.aborted) return inbox.close();
        this.inbox = inbox;
        this.#announced = inbox.items[0]?.seq ?? 0;
        inbox.subscribe(render);
      },
      () => signal.aborted || this.#note(this.#text("closed")),
    );
  }

  /** @param {string} text */
  #note(text) {
    const note = this.#get("note");
    if (note.textContent !== text) note.textContent = text;
  }

  #render() {
    const { inbox } = this;
    const badge = inbox?.badge;
    const max = Number(this.getAttribute("max") ?? 99);
    const unread = badge?.unread ?? 0;
    const count = unread > max || badge?.more ? `${Math.min(unread, max)}+` : String(unread || "");
    this.#renderBell(count);
    this.#get("heading").textContent = this.#text("label");
    this.#get("panel").setAttribute("aria-label", this.#text("label"));
    const all = this.#get("all");
    all.textContent = this.#text("readAll");
    // A disabled button loses the focus, and the panel its keys.
    if (!unread && this.#root.activeElement === all) this.#get("heading").focus();
    all.disabled = !unread;
    if (inbox) {
      const { state } = inbox.status;
      const note = { open: "", connecting: "", waiting: "offline", closed: "closed" }[state];
      this.#note(note && this.#text(note));
    } else if (!this.#get("note").textContent) {
      this.#note(this.#text("loading"));
    }
    const items = (inbox?.items ?? []).filter((item) => !item.archived);
    this.#renderTabs(items);
    this.#renderList(items);
    this.#announce(items);
  }

  /** @param {string} count */
  #renderBell(count) {
    const [bell, badge] = [this.#get("bell"), this.#get("badge")];
    const label = count ? `, ${this.#text("unread", { n: count })}` : "";
    bell.setAttribute("aria-label", this.#text("label") + label);
    if (badge.textContent !== count) {
      badge.textContent = count;
      badge.classList.remove("new");
      requestAnimationFrame(() => badge.classList.add("new"));
    }
    if (this.hasAttribute("document-title")) this.#renderTitle(count);
    if (this.hasAttribute("app-badge") && navigator.setAppBadge) {
      const { unread = 0 } = this.inbox?.badge ?? {};
      (unread ? navigator.setAppBadge(unread) : navigator.clearAppBadge()).catch(() => {});
    }
  }

  /** @param {string} count */
  #renderTitle(count) {
    // The page has another title since: a page of an app that navigates by itself.
    if (document.title !== this.#shownTitle) this.#title = document.title;
    const title = count ? `(${count}) ${this.#title}` : this.#title;
    if (document.title !== title) document.title = title;
    this.#shownTitle = document.title;
  }

  /** @param {Item[]} items */
  #renderTabs(items) {
    const names = [...new Set(items.map((item) => item.category))].sort();
    if (!names.includes(this.#category)) this.#category = "";
    const shown = names.length > 1 ? ["", ...names] : [];
    const tabs = this.#get("tabs");
    const focused = /** @type {any} */ (this.#root.activeElement)?.dataset?.category;
    tabs.replaceChildren(
      ...shown.map((name) => {
        const tab = element("button", { type: "button", role: "tab" }, name || this.#text("all"));
        const isSelected = name === this.#category;
        tab.setAttribute("aria-selected", String(isSelected));
        tab.tabIndex = isSelected ? 0 : -1;
        tab.dataset.category = name;
        tab.onclick = () => {
          this.#category = name;
          this.#render();
          this.#focusTab();
        };
        return tab;
      }),
    );
    if (focused !== undefined) this.#focusTab();
  }

  #focusTab() {
    this.#get("tabs").querySelector("[aria-selected=true]")?.focus();
  }

  /** @param {Item[]} items */
  #renderList(items) {
    const list = this.#get("list");
    const shown = items.filter((item) => [item.category, ""].includes(this.#category));
    const focused = /** @type {HTMLElement | null} */ (this.#root.activeElement);
    const [id, isArchive] = [focused?.closest("li")?.dataset.id, focused?.matches(".archive")];
    const position = shown.findIndex((item) => item.id === id);
    const rows = shown.map((item) => this.#row(item));
    if (!shown.length && this.inbox) {
      rows.push(element("li", { id: "empty" }, this.#text("empty")));
    }
    const end = element("li", { id: "more", "aria-hidden": "true" });
    list.replaceChildren(...rows, ...(this.inbox?.hasMore ? [end] : []));
    this.#observer.disconnect();
    if (this.inbox?.hasMore) this.#observer.observe(end);
    if (id === undefined) return;
    // The focus stays with its item, or goes to the next one if it is gone.
    const row = position < 0 ? list.querySelector(".open") : rows[position];
    const target = position < 0 ? row : row.querySelector(isArchive ? ".archive" : ".open");
    (target ?? this.#get("heading")).focus();
  }

  /** @param {Item} item @returns {HTMLElement} */
  #row(item) {
    const row = element("li", { part: item.read ? "item" : "item unread" });
    row.dataset.id = item.id;
    row.classList.toggle("unread", !item.read);
    const href = safeUrl(item.url);
    const open = href
      ? element("a", { class: "open", href })
      : element("button", { class: "open", type: "button" });
    open.append(element("div", { class: "title", dir: "auto" }, item.title));
    if (!item.read) open.append(element("span", { class: "hidden" }, this.#text("isUnread")));
    if (item.body) open.append(element("div", { class: "body", dir: "auto" }, item.body));
    const time = element("time", { class: "when" }, this.#when(item.created_at));
    time.setAttribute("datetime", new Date(item.created_at * 1_000).toISOString());
    open.append(time);
    const label = `${this.#text("archive")}: ${item.title}`;
    const archive = element("button", { class: "archive", type: "button", "aria-label": label });
    setMarkup(archive, ARCHIVE);
    row.append(open, archive);
    return row;
  }

  /** @param {number} time in seconds since 1970 @returns {string} */
  #when(time) {
    const format = new Intl.RelativeTimeFormat(this.#language, { numeric: "auto" });
    const seconds = Math.min(0, time - Date.now() / 1_000);
    const units = /** @type {const} */ ([["day", 86_400], ["hour", 3_600], ["minute", 60]]);
    for (const [unit, size] of units) {
      if (-seconds >= size) return format.format(Math.ceil(seconds / size), unit);
    }
    return format.format(0, "second");
  }

  /** Tell screen readers what is new, at most once in a while. @param {Item[]} items */
  #announce(items) {
    // What is muted comes in silence: its category is not counted.
    const isNew = (/** @type {Item} */ item) =>
      item.seq > this.#announced && !item.read && this.inbox?.badge?.by[item.category];
    const news = items.filter(isNew);
    if (!this.inbox || !news.length || this.#announcing) return;
    const delay = this.#lastAnnouncement + ANNOUNCE_EVERY - Date.now();
    this.#announcing = setTimeout(() => {
      this.#announcing = undefined;
      this.#lastAnnouncement = Date.now();
      const now = (this.inbox?.items ?? []).filter(isNew);
      if (!now.length) return;
      this.#announced = Math.max(...now.map((item) => item.seq));
      const { title } = now[0];
      this.#get("live").textContent =
        now.length > 1 ? this.#text("new", { n: now.length }) : this.#text("newOne", { title });
    }, Math.max(0, delay));
  }

  get #isOpen() {
    return this.#get("panel").matches(":popover-open");
  }

  #toggle() {
    const [bell, panel] = [this.#get("bell"), this.#get("panel")];
    panel.togglePopover();
    if (!this.#isOpen) return;
    bell.setAttribute("aria-expanded", "true");
    place(panel, bell.getBoundingClientRect());
    this.#render();
    this.#get("heading").focus();
    const newest = this.inbox?.items[0];
    if (newest && this.inbox?.badge?.unseen) this.inbox.seen(newest.seq);
  }

  /** @param {MouseEvent} event */
  #onClick(event) {
    const target = /** @type {Element} */ (event.target);
    const id = target.closest("li")?.dataset.id;
    if (!id) return;
    const item = this.inbox?.items.find((each) => each.id === id);
    if (target.closest(".archive")) this.inbox?.archive(id);
    else if (item) this.#open(item, event);
  }

  /** @param {Item} item @param {MouseEvent} event */
  #open(item, event) {
    if (!item.read) this.inbox?.markRead(item.id);
    const detail = { item };
    const opened = new CustomEvent("open-item", { detail, bubbles: true, cancelable: true });
    // A page with its own navigation prevents the default.
    if (!this.dispatchEvent(opened)) event.preventDefault();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const turn = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const active = this.#root.activeElement;
    if (step) {
      const stops = [...this.#get("list").querySelectorAll(".open")];
      const position = stops.indexOf(active?.closest("li")?.querySelector(".open"));
      stops[Math.max(0, Math.min(stops.length - 1, position + step))]?.focus();
      event.preventDefault();
    } else if (turn && active?.matches("[role=tab]")) {
      const tabs = [...this.#get("tabs").children];
      const isRtl = getComputedStyle(this).direction === "rtl";
      const next = tabs.indexOf(active) + (isRtl ? -turn : turn);
      tabs[(next + tabs.length) % tabs.length].click();
      event.preventDefault();
    }
  }
}

/**
 * @param {string} name @param {Record<string, string>} attributes @param {string} text
 * @returns {HTMLElement}
 */
function element(name, attributes = {}, text = "") {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

/** A policy that pages with `require-trusted-types-for 'script'` allow by its name. */
const POLICY = /** @type {any} */ (globalThis).trustedTypes?.createPolicy("roundel", {
  createHTML: (/** @type {string} */ markup) => markup,
});

/** Set constant *markup*. @param {Element | ShadowRoot} target @param {string} markup */
function setMarkup(target, markup) {
  target.innerHTML = POLICY?.createHTML(markup) ?? markup;
}

/** Return a URL of http or https, or an empty string. @param {string | null} url */
function safeUrl(url) {
  if (!url || !URL.canParse(url, document.baseURI)) return "";
  const parsed = new URL(url, document.baseURI);
  return ["http:", "https:"].includes(parsed.protocol) ? parsed.href : "";
}

/** Put *panel* below the bell, inside the window. @param {HTMLElement} panel @param {DOMRect} bell */
function place(panel, bell) {
  const { width, height } = panel.getBoundingClientRect();
  const isRtl = getComputedStyle(panel).direction === "rtl";
  const left = isRtl ? bell.left : bell.right - width;
  panel.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
  const below = bell.bottom + 8;
  const isAbove = below + height > innerHeight && bell.top > height;
  panel.style.top = `${isAbove ? bell.top - height - 8 : Math.min(below, innerHeight - 160)}px`;
  panel.style.maxBlockSize = `${innerHeight - Math.min(below, innerHeight - 160) - 8}px`;
}

if (!customElements.get("roundel-bell")) customElements.define("roundel-bell", RoundelBell);
