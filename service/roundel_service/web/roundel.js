// The client of Roundel's HTTP contract for pages, without dependencies.
//
// `connect()` follows one user's mailbox over a stream of server-sent events. Every event
// carries the whole badge and the (epoch, v) at which it is true, so the rules are few: a
// newer version wins, an older one is dropped, another epoch discards all state, and a
// gap reconnects from the cursor. Nothing here adds to a count.

/**
 * @typedef {{unread: number, unseen: number}} Count
 * @typedef {Count & {epoch: string, v: number, more: boolean,
 *   by: Record<string, Count>}} Badge
 * @typedef {{id: string, seq: number, category: string, title: string,
 *   body: string | null, url: string | null, icon: string | null, key: string | null,
 *   source: string | null, data: any, topic: string | null, created_at: number,
 *   updated_at: number | null, expires_at: number | null, seen: boolean, read: boolean,
 *   archived: boolean}} Item
 * @typedef {"connecting" | "open" | "waiting" | "closed"} State
 * @typedef {{state: State, resume: string, reason: string, retryAt: number}} Status
 * @typedef {{
 *   url?: string, level?: "badge" | "items", categories?: string[],
 *   token?: string | ((renew: boolean) => string | Promise<string>),
 *   transport?: "fetch" | "eventsource", ticket?: () => string | Promise<string>,
 *   share?: boolean | string, random?: () => number,
 * }} Options
 * @typedef {{[verb: string]: any}} Op
 * @typedef {{badge: Badge | null, items: Map<string, Item>, next: number | null,
 *   cursor: string}} Kept
 * @typedef {{op_id: string, ops: Op[], made?: string, epoch?: string, v?: number}} Pending
 */

/** Silent ping intervals after which the connection is considered dead. */
const MAX_SILENT_PINGS = 2.5;

/** First and maximum delay of a retry after a failure, in milliseconds. */
const RETRY = 1_000, MAX_RETRY = 60_000;

/** Maximum number of operations that wait to be sent. */
const MAX_PENDING = 100;

/** Maximum length of one event in characters: a snapshot of 50 items has 400,000. */
const MAX_EVENT = 4_000_000;

/** Statuses after which an operation is kept: signed out, no service, or a pause. */
const TEMPORARY = new Set([401, 408, 425, 429, 500, 502, 503, 504]);

/** Parses an event stream (WHATWG HTML 9.2.6), piece by piece. */
export class Parser {
  #line = "";
  #afterCR = false;
  /** @type {string[]} */ #data = [];
  #type = "";
  #size = 0;
  lastEventId = "";
  /** @type {number | null} The reconnection time that the stream has set. */ retry = null;

  /** @param {(type: string, data: string, id: string) => void} onEvent */
  constructor(onEvent) {
    this.onEvent = onEvent;
  }

  /** @param {string} text is the next piece, decoded */
  push(text) {
    if (this.#afterCR && text) {
      this.#afterCR = false;
      if (text[0] === "\n") text = text.slice(1);
    }
    this.#afterCR = text.endsWith("\r");
    const lines = (this.#line + text).split(/\r\n|\r|\n/);
    this.#line = /** @type {string} */ (lines.pop());
    for (const line of lines) this.#onLine(line);
    if (this.#size + this.#line.length > MAX_EVENT) throw new Error("event too long");
  }

  /** @param {string} line */
  #onLine(line) {
    if (!line) return this.#dispatch();
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value[0] === " ") value = value.slice(1);
    this.#size += line.length;
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#type = value;
    else if (name === "id" && !value.includes("\0")) this.lastEventId = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
  }

  #dispatch() {
    const [type, data] = [this.#type || "message", this.#data];
    [this.#type, this.#data, this.#size] = ["", [], 0];
    if (data.length) this.onEvent(type, data.join("\n"), this.lastEventId);
  }
}

/** The state of a mailbox at one (epoch, v), changed by events alone. */
export class Mailbox {
  /** @type {Badge | null} */ badge = null;
  /** @type {Map<string, Item>} by id, newest first. */ items = new Map();
  /** The `before` of the next older page, or null. @type {number | null} */ next = null;
  cursor = "";

  /**
   * Apply one event; return false if an event is missing before it.
   * @param {string} type
   * @param {any} data
   * @param {string} id
   * @returns {boolean}
   */
  apply(type, data, id) {
    const [epoch, v] = [this.badge?.epoch, this.badge?.v ?? -1];
    switch (type) {
      case "reset":
        this.reset();
        return true;
      case "ping":
        return data.epoch === epoch && data.v <= v;
      case "badge":
        if (data.epoch !== epoch || data.v > v) this.#moveTo(data, id);
        return true;
      case "snapshot":
        if (data.epoch === epoch && data.v < v) return true;
        this.items = new Map(data.items.map((/** @type {Item} */ i) => [i.id, i]));
        this.next = data.next;
        this.#moveTo(data.badge, id);
        return true;
      case "change":
        if (data.epoch === epoch && data.v <= v) return true;
        if (data.epoch !== epoch || data.from !== v) return false;
        for (const op of data.ops) this.#change(op);
        this.#moveTo(data.badge, id);
    }
    return true;
  }

  reset() {
    [this.badge, this.items, this.next, this.cursor] = [null, new Map(), null, ""];
  }

  /** @param {any} op */
  #change(op) {
    if (op.add) {
      this.items.delete(op.add.id);
      this.items = new Map([[op.add.id, op.add], ...this.items]);
    } else if (op.remove) for (const id of op.remove) this.items.delete(id);
    else if (op.update) this.#put(op.update);
    else if (op.set) {
      const { set, ...flags } = op;
      for (const id of set) {
        const item = this.items.get(id);
        if (item) this.#put({ ...item, ...flags });
      }
    }
  }

  /** @param {Item} item */
  #put(item) {
    if (this.items.has(item.id)) this.items.set(item.id, item);
  }

  /** @param {Badge} badge @param {string} cursor */
  #moveTo(badge, cursor) {
    this.badge = badge;
    this.cursor = cursor;
  }
}

/** What an attempt to connect came to: the next delay, or the reason for the end. */
class Ended {
  /** @param {number | null} retry in milliseconds; null is never @param {string} reason */
  constructor(retry, reason) {
    this.retry = retry;
    this.reason = reason;
  }
}

/** One connection to the stream, over either transport. */
class Connection {
  #abort = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #watchdog;
  /** @type {(ended: Ended) => void} */ #end = () => {};
  #heardAt = Date.now();
  ping = 25_000;

  /** @param {(type: string, data: any, id: string) => void} onEvent */
  constructor(onEvent) {
    this.onEvent = onEvent;
  }

  /** Whether the stream has been silent for too long. */
  get isStale() {
    return Date.now() - this.#heardAt > MAX_SILENT_PINGS * this.ping;
  }

  /** @param {Ended} ended */
  end(ended) {
    clearTimeout(this.#watchdog);
    this.#end(ended);
    this.#abort.abort();
  }

  /**
   * Read the stream until it ends.
   * @param {Options} options @param {string} path @returns {Promise<Ended>}
   */
  async read(options, path) {
    /** @type {Promise<Ended>} */
    const ended = new Promise((resolve) => (this.#end = resolve));
    this.#heard();
    const reading =
      options.transport === "eventsource"
        ? this.#listen(`${options.url}/${path}`)
        : this.#fetch(options, path);
    reading.then((end) => this.end(end), () => this.end(new Ended(RETRY, "network")));
    return ended;
  }

  /** @param {string} type @param {string} data @param {string} id */
  #dispatch(type, data, id) {
    this.#heard();
    const value = JSON.parse(data);
    if (type === "hello") this.ping = value.ping * 1_000;
    if (type === "bye") this.end(new Ended(value.retry, value.reason));
    else this.onEvent(type, value, id);
  }

  #heard() {
    this.#heardAt = Date.now();
    clearTimeout(this.#watchdog);
    const silent = () => this.end(new Ended(0, "silent"));
    this.#watchdog = setTimeout(silent, MAX_SILENT_PINGS * this.ping);
  }

  /** @param {Options} options @param {string} path */
  async #fetch(options, path) {
    const response = await call(options, path, {
      headers: { Accept: "text/event-stream" },
      cache: "no-store",
      signal: this.#abort.signal,
    });
    const refusal = refused(response);
    if (refusal || !response.body) return refusal ?? new Ended(RETRY, "network");
    const parser = new Parser((...event) => this.#dispatch(...event));
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return new Ended(parser.retry ?? RETRY, "network");
      parser.push(decoder.decode(value, { stream: true }));
    }
  }

  /** @param {string} url @returns {Promise<Ended>} */
  #listen(url) {
    const source = new EventSource(url, { withCredentials: true });
    this.#abort.signal.addEventListener("abort", () => source.close());
    for (const type of ["hello", "badge", "snapshot", "change", "ping", "reset", "auth", "bye"]) {
      source.addEventListener(type, (event) =>
        this.#dispatch(type, event.data, event.lastEventId),
      );
    }
    return new Promise((resolve) => {
      source.onerror = async () => {
        source.close();
        // EventSource tells no status. A ticket opens one stream, so it is not asked for.
        const head = !url.includes("ticket=") && source.readyState === 2;
        const options = { method: "HEAD", credentials: /** @type {const} */ ("include") };
        const response = head ? await fetch(url, options).catch(() => null) : null;
        resolve((response && refused(response)) ?? new Ended(RETRY, "network"));
      };
    });
  }
}

/** @param {Response} response @returns {Ended | null} */
function refused({ status, headers }) {
  if (status === 200) return null;
  if (status === 204) return new Ended(null, "revoked");
  if (status === 401) return new Ended(null, "unauthorized");
  if (!TEMPORARY.has(status)) return new Ended(null, `status ${status}`);
  return new Ended(1_000 * Number(headers.get("Retry-After")) || RETRY, `status ${status}`);
}


/** Connects to the stream again and again, until it ends for good. */
class Stream {
  /** @type {Connection | null} */ #connection = null;
  /** @type {() => void} */ #wake = () => {};
  #failures = 0;
  #closed = false;

  /**
   * @param {Options} options @param {() => string} cursor
   * @param {(type: string, data: any, id: string) => boolean | void} onEvent returns
   *   false if an event is missing before it
   * @param {(status: Partial<Status>) => void} onStatus
   */
  constructor(options, cursor, onEvent, onStatus) {
    this.options = options;
    this.cursor = cursor;
    this.onEvent = onEvent;
    this.onStatus = onStatus;
    this.#run();
  }

  close() {
    this.#closed = true;
    this.#connection?.end(new Ended(null, "closed"));
    this.#wake();
  }

  /** The page may have slept: a connection that was silent since is not trusted. */
  check() {
    if (this.#connection?.isStale) this.#connection.end(new Ended(0, "silent"));
    this.#wake();
  }

  async #run() {
    while (!this.#closed) {
      this.onStatus({ state: "connecting", retryAt: 0 });
      const { retry, reason } = await this.#attempt();
      if (this.#closed) return;
      if (retry === null) return this.onStatus({ state: "closed", reason });
      await this.#wait(retry, reason);
    }
  }

  /** @returns {Promise<Ended>} */
  async #attempt() {
    const connection = new Connection((...event) => this.#onEvent(...event));
    this.#connection = connection;
    return this.#path()
      .then((path) => connection.read(this.options, path))
      .catch(() => new Ended(RETRY, "token"));
  }

  async #path() {
    const { level = "items", categories, ticket } = this.options;
    const query = new URLSearchParams({ level });
    if (categories) query.set("categories", categories.join(","));
    if (this.cursor()) query.set("cursor", this.cursor());
    if (ticket) query.set("ticket", await ticket());
    return `stream?${query}`;
  }

  /** @param {string} type @param {any} data @param {string} id */
  #onEvent(type, data, id) {
    if (type === "hello") {
      this.#failures = 0;
      this.onStatus({ state: "open", resume: data.resume, reason: "" });
    }
    if (this.onEvent(type, data, id) === false) {
      this.#connection?.end(new Ended(0, "gap"));
    }
  }

  /** @param {number} retry in milliseconds @param {string} reason @returns {Promise<void>} */
  async #wait(retry, reason) {
    // A restart ends all streams at once: they come back spread over time.
    const { random = Math.random } = this.options;
    const span = Math.min(MAX_RETRY, RETRY * 2 ** this.#failures++);
    const delay = retry && retry + span * random();
    this.onStatus({ state: "waiting", reason, retryAt: Date.now() + delay });
    /** @type {Promise<void>} */
    const waited = new Promise((resolve) => {
      const timer = setTimeout(resolve, delay);
      this.#wake = () => {
        // A pause that the server has planned is kept; after a failure a try is cheap.
        if (!this.#closed && reason !== "network") return;
        clearTimeout(timer);
        resolve();
      };
    });
    await waited;
  }
}

/**
 * Call the service; a token that it refuses is renewed once.
 * @param {Options} options @param {string} path @param {RequestInit} init
 * @param {boolean} renew @returns {Promise<Response>}
 */
async function call(options, path, init = {}, renew = false) {
  const { url, token } = options;
  /** @type {Record<string, any>} */
  const headers = { ...init.headers };
  if (token) {
    headers.Authorization = `Bearer ${typeof token === "string" ? token : await token(renew)}`;
  }
  const response = await fetch(`${url}/${path}`, { credentials: "include", ...init, headers });
  if (response.status !== 401 || !token || renew) return response;
  return call(options, path, init, true);
}

/** Lets the tabs of a browser share one stream: one leads, the others follow. */
class Tabs {
  /** @type {(() => void) | null} Ends the lead. */ #release = null;
  #stop = new AbortController();

  /**
   * @param {string} name @param {() => () => void} lead starts to lead, returns the end
   * @param {(message: any) => void} onMessage
   */
  constructor(name, lead, onMessage) {
    this.name = name;
    this.lead = lead;
    this.channel = new BroadcastChannel(name);
    this.channel.onmessage = ({ data }) => onMessage(data);
    this.#elect();
  }

  get leads() {
    return this.#release !== null;
  }

  /** @param {any} message */
  post(message) {
    if (!this.#stop.signal.aborted) this.channel.postMessage(message);
  }

  /** Take the lead from a tab that is silent. */
  steal() {
    if (!this.leads) this.#elect(true);
  }

  /** Stop to lead, since this page is about to sleep, and queue behind the others. */
  yield() {
    if (!this.leads) return;
    this.#release?.();
    // A page that ends runs no timer, and a frozen one runs it when it is back.
    setTimeout(() => this.#elect());
  }

  close() {
    this.#stop.abort();
    this.#release?.();
    this.channel.close();
  }

  /** @param {boolean} steal */
  #elect(steal = false) {
    const options = steal ? { steal } : { signal: this.#stop.signal };
    const lead = () => {
      const end = this.lead();
      return new Promise((resolve) => {
        this.#release = () => {
          this.#release = null;
          end();
          resolve(undefined);
        };
      });
    };
    navigator.locks.request(this.name, options, lead).catch(() => {
      // Stolen by another tab: follow it.
      if (this.#stop.signal.aborted) return;
      this.#release?.();
      this.#elect();
    });
  }
}

/** The flags that each operation sets on the items that it selects; null removes them. */
const EFFECTS = /** @type {Record<string, Partial<Item> | null>} */ ({
  read: { read: true, seen: true },
  unread: { read: false },
  archive: { archived: true },
  unarchive: { archived: false },
  read_upto: { read: true, seen: true },
  seen_upto: { seen: true },
  archive_upto: { archived: true },
  read_all: { read: true, seen: true },
  archive_all: { archived: true },
  remove: null,
  snooze: null,
});

/** Return *item* after *op*, or null. @param {Item | null} item @param {Op} op */
function applied(item, op) {
  const verb = Object.keys(op).find((name) => name in EFFECTS);
  if (!item || !verb) return item;
  const value = op[verb];
  const isSelected = Array.isArray(value)
    ? value.includes(item.id)
    : item.seq <= (op.as_of ?? value) && [undefined, item.category].includes(op.category);
  if (!isSelected) return item;
  const flags = EFFECTS[verb];
  return flags && { ...item, ...flags };
}

/** @type {(item: Item | null) => boolean} */
const isUnread = (item) => item !== null && !item.read && !item.archived;

/** @type {(item: Item | null) => boolean} */
const isUnseen = (item) => isUnread(item) && !item?.seen;

/** Operations that are shown and not yet confirmed; kept while the page is offline. */
class Outbox {
  /** @type {Pending[]} */ pending = [];
  /** @type {string | undefined} */ #epoch;
  #sending = false;

  /** @param {string} name @param {Options} options @param {() => void} onChange */
  constructor(name, options, onChange) {
    this.name = name;
    this.options = options;
    this.onChange = onChange;
  }

  /**
   * Load what an earlier page has kept for this *epoch*, which no other user has.
   * @param {string} epoch
   */
  async open(epoch) {
    if (epoch === this.#epoch) return;
    this.#epoch = epoch;
    const kept = await store("getAll", IDBKeyRange.bound([this.name], [this.name, []]));
    /** @type {Pending[]} */ const all = kept ?? [];
    const own = all.filter(({ made }) => made === epoch);
    for (const each of all) {
      if (!own.includes(each)) this.#forget(each);
    }
    const known = new Set(this.pending.map(({ op_id }) => op_id));
    this.pending = [...own.filter((each) => !known.has(each.op_id)), ...this.pending];
    this.onChange();
    await this.send();
  }

  /** @param {Op[]} ops */
  async add(ops) {
    if (this.pending.length >= MAX_PENDING) throw new Error("too many operations wait");
    // A page of plain http has no randomUUID().
    const op_id = crypto.getRandomValues(new Uint32Array(4)).join("-");
    const entry = { op_id, ops, made: this.#epoch };
    this.pending.push(entry);
    this.onChange();
    await store("put", entry, [this.name, entry.op_id]);
    await this.send();
  }

  /**
   * Drop what the mailbox shows by now, and what is of another mailbox.
   * @param {{epoch: string, v: number}} badge
   */
  settle(badge) {
    for (const each of this.pending) {
      const { epoch, v = 0, made } = each;
      const isShown = epoch && (epoch !== badge.epoch || v <= badge.v);
      if (isShown || made !== badge.epoch) this.#forget(each);
    }
  }

  /** @param {Pending} entry */
  #forget(entry) {
    this.pending = this.pending.filter((other) => other !== entry);
    store("delete", [this.name, entry.op_id]);
  }

  /** Send what was not sent, one after the other. The service applies each id once. */
  async send() {
    if (this.#sending) return;
    this.#sending = true;
    try {
      for (let next; (next = this.pending.find(({ epoch }) => !epoch)); ) {
        if (!(await this.#post(next))) return;
      }
    } catch {
      // Offline: it is sent again when the stream is open.
    } finally {
      this.#sending = false;
    }
  }

  /** @param {Pending} entry */
  async #post(entry) {
    const { op_id, ops } = entry;
    const response = await call(this.options, "ops", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ op_id, ops }),
    });
    if (TEMPORARY.has(response.status)) return false;
    if (response.ok) Object.assign(entry, await response.json());
    else this.#forget(entry);
    this.onChange();
    return true;
  }
}

/**
 * Call a method of a store that outlives the page; undefined where there is none.
 * @param {"put" | "delete" | "getAll"} method @param {any[]} values @returns {Promise<any>}
 */
function store(method, ...values) {
  return new Promise((resolve) => {
    if (!globalThis.indexedDB) return resolve(undefined);
    const opening = indexedDB.open("roundel", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("outbox");
    opening.onerror = () => resolve(undefined);
    opening.onsuccess = () => {
      const entries = opening.result
        .transaction("outbox", "readwrite")
        .objectStore("outbox");
      // @ts-ignore: the values are those of the method.
      const request = entries[method](...values);
      request.onsuccess = request.onerror = () => {
        resolve(request.error ? undefined : request.result);
        opening.result.close();
      };
    };
  });
}

/**
 * Follows one user's mailbox; `connect()` makes one. Its events are `badge`, `items`,
 * `status` and `auth`.
 */
export class Inbox extends EventTarget {
  #mailbox = new Mailbox();
  #stop = new AbortController();
  /** @type {Stream | null} */ #stream = null;
  /** @type {Tabs | null} */ #tabs = null;
  #outbox;
  #heardAt = Date.now();
  #ping = 25_000;
  /** Whether the events of other tabs are known to be those of this page's user. */
  #isVerified = false;
  /** @type {Status} */
  status = { state: "connecting", resume: "", reason: "", retryAt: 0 };

  /** @param {Options} options */
  constructor(options = {}) {
    super();
    this.options = { url: "/v1", ...options };
    const name = `roundel ${this.options.url} ${options.share ?? ""}`;
    this.#outbox = new Outbox(name, this.options, () => this.#changed());
    const { level = "items", categories = [] } = options;
    // A token may belong to another user than that of the next tab: the page says so.
    const isShared = options.share ?? !(options.token || options.ticket);
    if (isShared && navigator.locks && globalThis.BroadcastChannel) {
      this.#tabs = new Tabs(
        `${name} ${level} ${categories}`,
        () => this.#lead(),
        (message) => this.#onMessage(message),
      );
      this.#tabs.post({ ask: true });
    } else {
      this.#lead();
    }
    this.#watchPage();
  }

  #watchPage() {
    const { signal } = this.#stop;
    const check = () => {
      if (document.visibilityState === "hidden") return;
      this.#stream?.check();
      const isSilent = Date.now() - this.#heardAt > MAX_SILENT_PINGS * this.#ping;
      // After an end for good no tab asks again.
      if (isSilent && this.status.state !== "closed") this.#tabs?.steal();
    };
    const timer = setInterval(check, 10_000);
    signal.addEventListener("abort", () => clearInterval(timer));
    // Those of the document are captured.
    const how = { signal, capture: true };
    for (const name of ["visibilitychange", "resume", "online", "pageshow", "focus"]) {
      addEventListener(name, check, how);
    }
    for (const name of ["freeze", "pagehide"]) {
      addEventListener(name, () => this.#tabs?.yield(), how);
    }
  }

  /** Read the stream in this tab; returns the function that ends it. */
  #lead() {
    this.#isVerified = true;
    const stream = new Stream(
      this.options,
      () => this.#mailbox.cursor,
      (type, data, id) => {
        this.#tabs?.post({ event: [type, data, id] });
        return this.#onEvent(type, data, id);
      },
      (status) => {
        this.#setStatus(status);
        this.#tabs?.post({ status: this.status });
      },
    );
    this.#stream = stream;
    return () => stream.close();
  }

  /**
   * A message of another tab: of the one that leads, or a question of a new one.
   * @param {{ask?: true, state?: Kept, event?: [string, any, string], status?: Status}} message
   */
  #onMessage({ ask, state, event, status }) {
    this.#heardAt = Date.now();
    if (ask && this.#tabs?.leads) {
      const { badge, items, next, cursor } = this.#mailbox;
      this.#tabs.post({ state: { badge, items, next, cursor }, status: this.status });
    }
    if (!this.#isVerified) {
      if (state && status) this.#verify(state, status);
      return;
    }
    if (state) this.#adopt(state);
    if (status) this.#setStatus(status);
    // A gap: the tab that leads has what is missing.
    if (event && !this.#onEvent(...event)) this.#tabs?.post({ ask: true });
  }

  /**
   * Since the other tab connected, another user may have signed in, or the same one again.
   * @param {Kept} state @param {Status} status
   */
  async #verify({ badge }, { state }) {
    const { options } = this;
    const response = options.ticket ? null : await call(options, "badge").catch(() => null);
    const epoch = response?.ok && (await response.json()).epoch;
    if (this.#isVerified || this.#stop.signal.aborted) return;
    this.#isVerified = true;
    const isOther = state === "closed" || (badge && badge.epoch !== epoch);
    if (response?.status === 401 || (epoch && isOther)) this.#tabs?.steal();
    else this.#tabs?.post({ ask: true });
  }

  /** @param {Kept} state */
  #adopt(state) {
    const { badge } = this.#mailbox;
    if (!state.badge) return;
    if (badge?.epoch === state.badge.epoch && badge.v >= state.badge.v) return;
    Object.assign(this.#mailbox, state);
    this.#changed();
  }

  /** @param {string} type @param {any} data @param {string} id @returns {boolean} */
  #onEvent(type, data, id) {
    if (type === "hello") {
      this.#ping = data.ping * 1_000;
      if (data.resume === "reset") this.#mailbox.reset();
    }
    if (type === "hello" || type === "ping") {
      // A filtered stream tells no change that it leaves out, so silence settles it.
      const isCurrent = type === "ping" || data.resume === "current";
      this.#outbox.settle({ epoch: data.epoch, v: isCurrent ? Infinity : -1 });
      this.#emit("badge", "items");
      this.#outbox.send();
    }
    if (type === "auth") this.dispatchEvent(new CustomEvent("auth", { detail: data }));
    const { badge } = this.#mailbox;
    const isWhole = this.#mailbox.apply(type, data, id);
    if (this.#mailbox.badge !== badge) this.#changed();
    return isWhole;
  }

  #changed() {
    const { badge } = this.#mailbox;
    if (badge) {
      this.#outbox.settle(badge);
      this.#outbox.open(badge.epoch);
    }
    this.#emit("badge", "items");
  }

  /** @param {Partial<Status>} changed */
  #setStatus(changed) {
    this.status = { ...this.status, ...changed };
    this.#emit("status");
  }

  /** @param {string[]} types */
  #emit(...types) {
    for (const type of types) this.dispatchEvent(new Event(type));
  }

  /** The badge, as it will be when the service has what is pending. */
  get badge() {
    const { badge, items } = this.#mailbox;
    if (!badge) return null;
    let { unread, unseen } = badge;
    for (const item of items.values()) {
      const shown = this.#shown(item);
      // An unread item of a category that is not counted is muted.
      if (isUnread(item) && !badge.by[item.category]) continue;
      unread += +isUnread(shown) - +isUnread(item);
      unseen += +isUnseen(shown) - +isUnseen(item);
    }
    // What is muted by its topic counts in no badge, also if it is marked as read here.
    [unread, unseen] = [Math.max(0, unread), Math.max(0, unseen)];
    return { ...badge, unread, unseen, isPending: this.#outbox.pending.length > 0 };
  }

  /** The items, newest first, without those of older pages. */
  get items() {
    const shown = [...this.#mailbox.items.values()].map((item) => this.#shown(item));
    return /** @type {Item[]} */ (shown.filter((item) => item));
  }

  /** Whether older items can be loaded with `loadMore()`. */
  get hasMore() {
    return this.#mailbox.next !== null;
  }

  /** @param {Item} item @returns {Item | null} */
  #shown(item) {
    const ops = this.#outbox.pending.flatMap((pending) => pending.ops);
    return ops.reduce(applied, /** @type {Item | null} */ (item));
  }

  /**
   * Call *listener* now and after each change; returns a function that ends it.
   * @param {(inbox: Inbox) => void} listener
   */
  subscribe(listener) {
    const tell = () => this.badge && listener(this);
    const types = ["badge", "items", "status"];
    for (const type of types) this.addEventListener(type, tell);
    tell();
    return () => types.forEach((type) => this.removeEventListener(type, tell));
  }

  /**
   * Load the next older page of the list.
   * @returns {Promise<void>}
   */
  async loadMore() {
    const { next } = this.#mailbox;
    if (next === null) return;
    const response = await call(this.options, `items?before=${next}`);
    if (!response.ok) throw new Error(`status ${response.status}`);
    const page = await response.json();
    const { badge, items } = this.#mailbox;
    if (next !== this.#mailbox.next || page.badge.epoch !== badge?.epoch) return;
    // An item that has left the list since the answer must not come back.
    if (page.badge.v < /** @type {Badge} */ (badge).v) return this.loadMore();
    const { categories } = this.options;
    for (const item of page.items) {
      if (categories && !categories.includes(item.category)) continue;
      if (!items.has(item.id)) items.set(item.id, item);
    }
    this.#mailbox.next = page.next;
    this.#emit("items");
  }

  /** Apply operations of the contract; they show at once. @param {Op[]} ops */
  apply(...ops) {
    return this.#outbox.add(ops);
  }

  /** @param {string[]} ids */
  markRead(...ids) {
    return this.apply({ read: ids });
  }

  /** What the stream leaves out is not on the page. @param {string} verb */
  #applyToAll(verb) {
    const op = { [verb]: true, as_of: this.#mailbox.badge?.v ?? 0 };
    const { categories } = this.options;
    return this.apply(...(categories?.map((category) => ({ ...op, category })) ?? [op]));
  }

  /** Mark everything that the page shows as read, and nothing that comes meanwhile. */
  markAllRead() {
    return this.#applyToAll("read_all");
  }

  /** @param {string[]} ids */
  archive(...ids) {
    return this.apply({ archive: ids });
  }

  archiveAll() {
    return this.#applyToAll("archive_all");
  }

  /** @param {string[]} ids */
  remove(...ids) {
    return this.apply({ remove: ids });
  }

  /** Say that the user has seen the items up to *seq*. @param {number} seq */
  seen(seq) {
    return this.apply({ seen_upto: seq });
  }

  /** End the stream for good. */
  close() {
    this.#stop.abort();
    this.#tabs ? this.#tabs.close() : this.#stream?.close();
    this.#setStatus({ state: "closed", reason: "closed" });
  }
}

/**
 * Follow the mailbox of the user; resolves when its state is known.
 * @param {Options} options
 * @returns {Promise<Inbox>}
 */
export function connect(options = {}) {
  const inbox = new Inbox(options);
  return new Promise((resolve, reject) => {
    const check = () => {
      if (inbox.badge) resolve(inbox);
      const { state, reason } = inbox.status;
      if (inbox.badge || state !== "closed" || reason === "closed") return;
      reject(new Error(reason));
      // Otherwise it keeps the lead of the tabs from the page that signs in.
      inbox.close();
    };
    inbox.addEventListener("badge", check);
    inbox.addEventListener("status", check);
  });
}
