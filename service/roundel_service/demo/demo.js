// The page: shows the state of the subscribers and sends the requests of its buttons.
// It changes no count itself: the result of each request arrives through the stream.

import { Subscriber } from "./subscriber.js";

/** @typedef {import("./subscriber.js").Item} Item */

/** @type {{producerKey: string, users: {name: string, path: string}[]}} */
const setup = JSON.parse(document.getElementById("setup").textContent);

const SAMPLES = [
  "Review requested: “Make a stream a cursor”",
  "Carol mentioned you in #design",
  "The deploy of 14:05 is live",
  "Dave: lunch at twelve?",
  "Your export is ready",
  "Erin commented on your draft",
];

const LINK_NAMES = {
  connecting: "Connecting",
  live: "Live",
  cut: "Cut",
  refused: "Refused",
};

const SNIPPET = `const stream = new EventSource("/v1/stream");
const show = ({ unread, more }) => (bell.textContent = unread ? unread + (more ? "+" : "") : "");
stream.addEventListener("badge", (event) => show(JSON.parse(event.data)));`;

/** The text of a badge: empty, a number, or a lower bound like "99+". */
function badgeText({ unread, more }) {
  return unread ? `${unread}${more ? "+" : ""}` : "";
}

async function post(url, body, headers = {}) {
  const response = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error((await response.json()).detail);
}

/** Notify as a backend does, with the producer key. */
function notify(to, title, category) {
  const key = { Authorization: `Bearer ${setup.producerKey}` };
  return post("/v1/notify", { to, title, category }, key);
}

/** The URL of an item, if it is http or https. */
function safeUrl(url) {
  const { protocol, href } = URL.parse(url ?? "", location.href) ?? {};
  return url && ["http:", "https:"].includes(protocol) ? href : null;
}

/** The card of one user. */
class Person {
  #sample = 0;
  /** @type {Map<string, HTMLLIElement>} */ #rows = new Map();

  constructor({ name, path }) {
    this.name = name;
    this.path = path;
    const template = document.getElementById("person");
    this.card = template.content.cloneNode(true).firstElementChild;
    this.card.dataset.user = name;
    this.card.setAttribute("aria-label", name);
    this.$("h2").textContent = name;
    this.$(".face").textContent = name[0].toUpperCase();
    this.subscriber = new Subscriber(`${path}/v1/stream`, () => this.show());
    this.#listen();
    this.#suggest();
  }

  /** @returns {any} the element of the card */
  $(selector) {
    return this.card.querySelector(selector);
  }

  #listen() {
    const { subscriber } = this;
    const [form, title] = [this.$(".notify"), this.$("[name=title]")];
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#try(() => this.#notify(1)).then(() => (title.value = ""));
    });
    this.$(".three").addEventListener("click", () => this.#try(() => this.#notify(3)));
    // One write, however many users there are: each of them pulls it.
    this.$(".everybody").addEventListener("click", () =>
      this.#try(() => this.#notify(1, { all: true })),
    );
    this.$(".bell").addEventListener("click", () => this.#op({ seen_upto: subscriber.v }));
    this.$(".read-all").addEventListener("click", () =>
      // Newer items than the shown ones stay unread.
      this.#op({ read_all: true, as_of: subscriber.v }),
    );
    this.$(".cut").addEventListener("click", () =>
      subscriber.link === "cut" ? subscriber.connect() : subscriber.cut(),
    );
  }

  async #notify(times, to = { user: this.name }) {
    const title = this.$("[name=title]").value.trim();
    for (let i = 0; i < times; i++) {
      await notify(to, title || SAMPLES[this.#sample], this.$("select").value);
      this.#sample = (this.#sample + 1) % SAMPLES.length;
    }
    this.#suggest();
  }

  #suggest() {
    this.$("[name=title]").placeholder = SAMPLES[this.#sample];
  }

  #op(op) {
    const ops = { op_id: crypto.randomUUID(), ops: [op] };
    return this.#try(() => post(`${this.path}/v1/ops`, ops));
  }

  /** Run the action of a button, and show its error. */
  async #try(action) {
    const complaint = this.$(".complaint");
    try {
      await action();
      complaint.hidden = true;
    } catch (error) {
      complaint.textContent = `Failed: ${error.message}`;
      complaint.hidden = false;
    }
  }

  /** Show the current state of the subscriber. */
  show() {
    const { subscriber } = this;
    this.card.dataset.link = subscriber.link;
    this.$(".link").textContent = LINK_NAMES[subscriber.link];
    this.$(".outcome").textContent = subscriber.outcome;
    this.$(".cut").textContent = subscriber.link === "cut" ? "Reconnect" : "Cut the wire";
    this.#showBadge();
    this.#showItems();
  }

  #showBadge() {
    const { badge, link, v } = this.subscriber;
    const text = badge ? badgeText(badge) : "";
    this.$(".badge").textContent = text;
    this.$(".badge").hidden = !text;
    this.$(".bell").classList.toggle("has-unseen", Boolean(badge?.unseen));
    this.$(".version").textContent = badge ? `(${badge.epoch}, ${v})` : "(–, –)";
    const summary = `${this.name}: ${text || "no"} unread`;
    const old = link === "live" ? "" : ", as of the last contact";
    this.$(".bell").setAttribute("aria-label", `${summary}${old}. Mark as seen`);
    const announcement = this.$(".announcement");
    // A screen reader announces every write to a live region.
    if (announcement.textContent !== summary) announcement.textContent = summary;
  }

  #showItems() {
    const newest = [...this.subscriber.items.values()].reverse();
    const shown = newest.filter((item) => !item.archived);
    const list = this.$(".items");
    for (const [id, row] of this.#rows) {
      if (!this.subscriber.items.has(id)) {
        row.remove();
        this.#rows.delete(id);
      }
    }
    shown.forEach((item, place) => {
      const row = this.#row(item);
      // Only misplaced rows are moved, so that the focus is kept.
      if (list.children[place] !== row) list.insertBefore(row, list.children[place] ?? null);
    });
    this.$(".nothing").hidden = shown.length > 0;
    this.$(".read-all").disabled = !this.subscriber.badge?.unread;
  }

  /** @param {Item} item */
  #row(item) {
    const row = this.#rows.get(item.id) ?? this.#newRow(item);
    row.querySelector(".words").textContent = item.title; // It may have been edited.
    row.classList.toggle("unread", !item.read);
    row.classList.toggle("unseen", !item.seen);
    row.querySelector(".state").textContent = item.read ? "Read: " : "Unread: ";
    row.querySelector("button").title = item.read ? "Mark as unread" : "Mark as read";
    return row;
  }

  /** @param {Item} item */
  #newRow(item) {
    const template = document.getElementById("item");
    const row = template.content.cloneNode(true).firstElementChild;
    const created = new Date(item.created_at * 1000);
    row.querySelector(".category").textContent = item.category;
    row.querySelector("time").dateTime = created.toISOString();
    row.querySelector("time").textContent = created.toLocaleTimeString([], { timeStyle: "short" });
    const url = safeUrl(item.url);
    if (url) row.querySelector("a").href = url;
    else row.querySelector("a").remove();
    row.querySelector("button").addEventListener("click", () => {
      const verb = this.subscriber.items.get(item.id)?.read ? "unread" : "read";
      this.#op({ [verb]: [item.id] });
    });
    this.#rows.set(item.id, row);
    return row;
  }
}

function showRecipes() {
  const body = JSON.stringify({ to: { user: setup.users[0].name }, title: "Hello from curl" });
  document.getElementById("snippet").textContent = SNIPPET;
  document.getElementById("curl").textContent =
    `curl ${location.origin}/v1/notify \\\n` +
    `  -H 'Authorization: Bearer ${setup.producerKey}' \\\n` +
    `  -H 'Content-Type: application/json' \\\n` +
    `  -d '${body}'`;
  for (const button of document.querySelectorAll("[data-copy]")) {
    const { textContent } = document.getElementById(button.dataset.copy);
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(textContent);
      button.textContent = "Copied";
    });
  }
}

showRecipes();
for (const user of setup.users) {
  const person = new Person(user);
  document.getElementById("people").append(person.card);
  person.subscriber.connect();
}
