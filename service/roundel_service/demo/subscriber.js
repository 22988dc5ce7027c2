// The complete client side of the contract: applies newer events, reconnects at a gap,
// and shows the counts of the stream. Nothing here computes a count.

/**
 * @typedef {{epoch: string, v: number, unread: number, unseen: number, more: boolean}} Badge
 * @typedef {{id: string, seq: number, category: string, title: string, body: ?string,
 *   url: ?string, created_at: number, seen: boolean, read: boolean, archived: boolean}} Item
 * @typedef {"connecting" | "live" | "cut" | "refused"} Link
 */

/** Number of silent ping intervals after which the connection is considered dead. */
const MAX_SILENT_PINGS = 2.5;

/** Follows one user's mailbox, at the level of items. */
export class Subscriber {
  /** @type {Link} */ link = "cut";
  /** A description of the last connection attempt or end. */ outcome = "";
  /** @type {?Badge} The latest badge, with its (epoch, v). */ badge = null;
  /** @type {Map<string, Item>} In order of appearance, oldest first. */ items = new Map();

  #cursor = "";
  #ping = 25;
  /** @type {?EventSource} */ #source = null;
  /** @type {number | undefined} */ #watchdog;

  /**
   * @param {string} url of the stream, without a cursor
   * @param {() => void} onChange is called after each visible change
   */
  constructor(url, onChange) {
    this.url = url;
    this.onChange = onChange;
  }

  get epoch() {
    return this.badge?.epoch ?? null;
  }

  get v() {
    return this.badge?.v ?? -1;
  }

  /** Connect; resume from the cursor if there is one. */
  connect() {
    this.#close();
    const resume = this.#cursor && `&cursor=${encodeURIComponent(this.#cursor)}`;
    this.#source = new EventSource(`${this.url}?level=items${resume}`);
    this.#source.onerror = () => this.#onError();
    for (const [type, apply] of Object.entries(this.#handlers)) {
      this.#source.addEventListener(type, (event) => {
        apply(JSON.parse(event.data), event.lastEventId);
        // At a gap, the handler has reconnected already.
        this.#watch();
        this.onChange();
      });
    }
    this.#setLink("connecting");
    this.#watch();
  }

  /** Disconnect; the shown state can be out of date from now on. */
  cut() {
    this.#close();
    this.outcome = "the shown state may be out of date";
    this.#setLink("cut");
  }

  /** The handler of each event type. */
  #handlers = {
    hello: (hello) => {
      this.#ping = hello.ping;
      this.outcome = this.#describe(hello);
      if (hello.resume === "reset") this.#reset();
      this.link = "live";
    },
    snapshot: (snapshot, id) => {
      if (snapshot.epoch === this.epoch && snapshot.v < this.v) return;
      this.items = new Map(snapshot.items.reverse().map((item) => [item.id, item]));
      this.#moveTo(snapshot.badge, id);
    },
    change: (change, id) => {
      if (change.epoch === this.epoch && change.v <= this.v) return;
      if (change.epoch !== this.epoch || change.from !== this.v) {
        this.connect(); // a gap: resume from the last applied version
        return;
      }
      change.ops.forEach((op) => this.#apply(op));
      this.#moveTo(change.badge, id);
    },
    ping: ({ epoch, v }) => {
      if (epoch !== this.epoch || v > this.v) this.connect(); // an event was lost
    },
    reset: () => this.#reset(),
    bye: ({ reason, retry }) => {
      this.link = "connecting";
      this.outcome = `ended by the server (${reason}), reconnecting in ${(retry / 1000).toFixed(1)} s`;
    },
  };

  #apply(op) {
    if (op.add) {
      this.items.set(op.add.id, op.add);
    } else if (op.remove) {
      op.remove.forEach((id) => this.items.delete(id));
    } else if (op.update) {
      if (this.items.has(op.update.id)) this.items.set(op.update.id, op.update);
    } else {
      const { set, ...flags } = op;
      for (const id of set) {
        const item = this.items.get(id);
        if (item) this.items.set(id, { ...item, ...flags });
      }
    }
  }

  #moveTo(badge, cursor) {
    this.badge = badge;
    this.#cursor = cursor;
  }

  #reset() {
    this.badge = null;
    this.items = new Map();
    this.#cursor = "";
  }

  #describe({ resume, v }) {
    switch (resume) {
      case "current":
        return "resumed: nothing missed";
      case "replayed":
        return `resumed: replayed, ${v - this.v} change${v - this.v === 1 ? "" : "s"}`;
      case "snapshot":
        return this.#cursor ? "too far behind: fresh snapshot" : "fresh snapshot";
      default:
        return "reset: discarded all state";
    }
  }

  // EventSource reconnects with its Last-Event-ID, unless the response is an error.
  #onError() {
    if (this.#source?.readyState === EventSource.CLOSED) {
      this.#onRefused(this.#source);
    } else {
      if (this.link === "live") this.outcome = "connection lost, reconnecting";
      this.#setLink("connecting");
    }
  }

  // EventSource does not say whether the service refused, or a proxy had no service.
  async #onRefused(source) {
    this.outcome = "no stream, trying again";
    this.#setLink("connecting");
    this.#connectIn(5_000 + 5_000 * Math.random());
    const response = await fetch(this.url, { method: "HEAD" }).catch(() => null);
    if (source === this.#source && [204, 401].includes(response?.status)) {
      this.#close();
      this.outcome = "refused by the service: reload the page";
      this.#setLink("refused");
    }
  }

  #watch() {
    this.#connectIn(MAX_SILENT_PINGS * this.#ping * 1000);
  }

  #connectIn(milliseconds) {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.connect(), milliseconds);
  }

  #close() {
    clearTimeout(this.#watchdog);
    this.#source?.close();
    this.#source = null;
  }

  /** @param {Link} link */
  #setLink(link) {
    this.link = link;
    this.onChange();
  }
}
