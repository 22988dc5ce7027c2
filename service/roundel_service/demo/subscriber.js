// The client's half of the contract, whole: apply what is newer, notice every hole,
// and otherwise believe what the stream tells. Nothing here adds to a stored count.

/**
 * @typedef {{epoch: string, v: number, unread: number, unseen: number, more: boolean}} Badge
 * @typedef {{id: string, seq: number, category: string, title: string, body: ?string,
 *   url: ?string, created_at: number, seen: boolean, read: boolean, archived: boolean}} Item
 * @typedef {"connecting" | "live" | "cut" | "refused"} Link
 */

/** After how many silent ping intervals a connection is taken for dead. */
const PATIENCE = 2.5;

/** Follows one user's mailbox, at the level of items. */
export class Subscriber {
  /** @type {Link} */ link = "cut";
  /** What the last connect or end was answered with, in words. */ outcome = "";
  /** @type {?Badge} The latest badge, true at its own (epoch, v). */ badge = null;
  /** @type {Map<string, Item>} In order of appearance, oldest first. */ items = new Map();

  #cursor = "";
  #ping = 25;
  /** @type {?EventSource} */ #source = null;
  /** @type {number | undefined} */ #watchdog;

  /**
   * @param {string} url of the stream, without a cursor
   * @param {() => void} onChange is called after everything that can be seen
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

  /** Connect, from where the page is if it has been anywhere. */
  connect() {
    this.#close();
    const resume = this.#cursor && `&cursor=${encodeURIComponent(this.#cursor)}`;
    this.#source = new EventSource(`${this.url}?level=items${resume}`);
    this.#source.onerror = () => this.#onError();
    for (const [type, apply] of Object.entries(this.#frames)) {
      this.#source.addEventListener(type, (event) => {
        apply(JSON.parse(event.data), event.lastEventId);
        // A frame that showed a hole has begun another connection already.
        this.#watch();
        this.onChange();
      });
    }
    this.#turn("connecting");
    this.#watch();
  }

  /** Cut the wire; what is shown from now on may be old. */
  cut() {
    this.#close();
    this.outcome = "what you see may be old";
    this.#turn("cut");
  }

  /** What each kind of frame does. */
  #frames = {
    hello: (hello) => {
      this.#ping = hello.ping;
      this.outcome = this.#inWords(hello);
      if (hello.resume === "reset") this.#forget();
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
        this.connect(); // a hole: ask again from where we really are
        return;
      }
      change.ops.forEach((op) => this.#apply(op));
      this.#moveTo(change.badge, id);
    },
    ping: ({ v }) => {
      if (v > this.v) this.connect();
    },
    reset: () => this.#forget(),
    bye: ({ reason, retry }) => {
      this.link = "connecting";
      this.outcome = `ended by the server (${reason}), back in ${(retry / 1000).toFixed(1)} s`;
    },
  };

  #apply(op) {
    if (op.add) {
      this.items.set(op.add.id, op.add);
    } else if (op.remove) {
      op.remove.forEach((id) => this.items.delete(id));
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

  #forget() {
    this.badge = null;
    this.items = new Map();
    this.#cursor = "";
  }

  #inWords({ resume, v }) {
    switch (resume) {
      case "current":
        return "resumed: nothing missed";
      case "replayed":
        return `resumed: replayed, ${v - this.v} change${v - this.v === 1 ? "" : "s"}`;
      case "snapshot":
        return this.#cursor ? "too far behind: fresh snapshot" : "fresh snapshot";
      default:
        return "reset: forgot everything, started anew";
    }
  }

  // EventSource comes back by itself, with its Last-Event-ID, unless it was refused.
  #onError() {
    if (this.#source?.readyState === EventSource.CLOSED) {
      this.#close();
      this.outcome = "the service said no: reload the page";
      this.#turn("refused");
    } else {
      if (this.link === "live") this.outcome = "connection lost, coming back";
      this.#turn("connecting");
    }
  }

  #watch() {
    clearTimeout(this.#watchdog);
    const patience = PATIENCE * this.#ping * 1000;
    this.#watchdog = setTimeout(() => this.connect(), patience);
  }

  #close() {
    clearTimeout(this.#watchdog);
    this.#source?.close();
    this.#source = null;
  }

  /** @param {Link} link */
  #turn(link) {
    this.link = link;
    this.onChange();
  }
}
