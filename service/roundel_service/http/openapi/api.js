// Renders the OpenAPI document. Its text becomes text nodes, never markup.

const $ = (id) => document.getElementById(id);
const base = new URL(".", location.href);

/** Create an element: `el("p.note", { id: "x" }, "text", child)`. */
function el(what, ...rest) {
  const [name, ...classes] = what.split(".");
  const node = document.createElement(name);
  node.classList.add(...classes);
  for (const part of rest.flat(Infinity)) {
    if (part === null || part === undefined || part === false) continue;
    if (part instanceof Node || typeof part !== "object") node.append(part);
    else for (const [key, value] of Object.entries(part)) node.setAttribute(key, value);
  }
  return node;
}

/** Render the Markdown of descriptions: `code`, **strong** and *emphasis*. */
function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*|\*[^*\s][^*]*\*)/).map((part) => {
    if (part.startsWith("`")) return el("code", part.slice(1, -1));
    if (part.startsWith("**")) return el("strong", part.slice(2, -2));
    if (part.length > 2 && part.startsWith("*")) return el("em", part.slice(1, -1));
    return part;
  });
}

function prose(text) {
  return (text ?? "").split(/\n{2,}/).filter(Boolean).map((part) => el("p", inline(part)));
}

// The document

let api;

function resolve(part) {
  if (!part?.$ref) return part;
  const names = part.$ref.slice(2).split("/");
  return names.reduce((found, name) => found[name], api);
}

const nameOf = (ref) => ref.split("/").pop();
const METHODS = ["get", "post", "put", "delete", "patch"];

function callsOf() {
  return Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => method in item).map((method) => ({
      path,
      method: method.toUpperCase(),
      servers: item.servers,
      ...item[method],
    })),
  );
}

// Schemas

function schemaLink(ref) {
  const name = nameOf(ref);
  return el("a", { href: `#schema-${name}` }, name);
}

function joined(parts, by) {
  return parts.flatMap((part, n) => (n ? [by, part] : [part]));
}

/** Describe the values that a schema allows, as nodes. */
function typeOf(schema) {
  if (schema.$ref) return [schemaLink(schema.$ref)];
  const many = schema.anyOf ?? (schema.oneOf?.some((s) => s.$ref) ? schema.oneOf : null);
  if (many) return joined(many.map(typeOf), " or ").flat();
  if ("const" in schema) return [el("code", JSON.stringify(schema.const))];
  if (schema.enum) return joined(schema.enum.map((v) => el("code", JSON.stringify(v))), " | ");
  const kinds = [schema.type ?? "any JSON"].flat();
  const types = kinds.map((kind) => {
    if (kind === "array") return ["array of ", ...typeOf(schema.items ?? {})];
    if (kind === "object" && typeof schema.additionalProperties === "object")
      return ["object of ", ...typeOf(schema.additionalProperties)];
    return [kind];
  });
  return joined(types, " or ").flat();
}

function limitsOf(schema) {
  const { minimum, maximum, exclusiveMinimum, minLength, maxLength, minItems, maxItems } = schema;
  const range = (low, high, unit) => {
    if (low === undefined && high === undefined) return null;
    const number = (value) => value.toLocaleString("en");
    if (high === undefined) return `${number(low)} or more${unit}`;
    return `${low === undefined ? "up" : number(low)} to ${number(high)}${unit}`;
  };
  return [
    range(minimum, maximum, ""),
    exclusiveMinimum === undefined ? null : `more than ${exclusiveMinimum}`,
    range(minLength, maxLength, " characters"),
    range(minItems, maxItems, " entries"),
  ].filter(Boolean).join(", ");
}

function details(schema) {
  const limits = limitsOf(schema);
  return [
    limits && el("span.limit", limits),
    schema.pattern && el("code.limit", schema.pattern),
    schema.items?.pattern && el("code.limit", schema.items.pattern),
    "default" in schema && el("span.limit", "default ", el("code", JSON.stringify(schema.default))),
  ];
}

function fieldRow(name, schema, { required, where, note }) {
  return el("div.field",
    el("dt", el("code.name", name), where && el("span.where", where),
      required && el("span.required", "required")),
    el("dd", el("span.type", typeOf(schema)), details(schema),
      note && el("p", inline(note))),
  );
}

function fields(schema) {
  const required = schema.required ?? [];
  const rows = Object.entries(schema.properties ?? {}).map(([name, field]) =>
    fieldRow(name, field, {
      required: required.includes(name),
      note: field.description ?? resolve(field).description,
    }));
  return rows.length ? el("dl.fields", rows) : el("p.soft", "No fields.");
}

// Examples

const show = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

function code(text, label) {
  const pre = el("pre", { tabindex: 0, "aria-label": label }, text);
  const button = el("button.copy", { type: "button", "aria-label": `Copy: ${label}` }, "Copy");
  button.addEventListener("click", () => copy(text, button));
  return el("div.code", button, pre);
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // No clipboard without a secure context: the user copies.
    getSelection().selectAllChildren(button.nextElementSibling);
    button.textContent = "Press Ctrl+C";
  }
  setTimeout(() => (button.textContent = "Copy"), 2_000);
}

function exampleList(media, label) {
  return Object.values(media["x-examples"] ?? media.examples ?? {}).map(resolve).map((example) =>
    el("figure", el("figcaption", inline(example.summary ?? "Example")),
      code(show(example.value), `${label}: ${example.summary}`)));
}

const quote = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/** Return the call as a shell command; secrets stay variables. */
function curl(call) {
  const parameters = (call.parameters ?? []).map(resolve);
  const given = (kind) => parameters.filter((p) => p.in === kind && "example" in p);
  let path = call.path;
  for (const p of given("path")) path = path.replace(`{${p.name}}`, encodeURIComponent(p.example));
  const query = new URLSearchParams(given("query").map((p) => [p.name, p.example]));
  const server = call.servers?.[0].url ?? base.href.replace(/\/$/, "");
  const lines = [`curl ${call.method === "GET" ? "" : `-X ${call.method} `}${quote(
    server + path + (query.size ? `?${query}` : ""))}`];
  const schemes = call.security.flatMap(Object.keys);
  if (schemes.length)
    lines.push(`-H "Authorization: Bearer $${schemes[0] === "producerKey" ? "ROUNDEL_KEY" : "ROUNDEL_JWT"}"`);
  if (parameters.some((p) => p.name === "Idempotency-Key")) lines.push('-H "Idempotency-Key: $(uuidgen)"');
  const [[type, media] = []] = Object.entries(call.requestBody?.content ?? {});
  if (type) {
    // The first example that is not empty: of tickets, the producer's.
    const values = Object.values(media.examples).map((example) => example.value);
    const value = values.find((each) => Object.keys(each).length) ?? values[0];
    const text = typeof value === "string" ? value.trimEnd() : JSON.stringify(value);
    lines.push(`-H 'Content-Type: ${type}'`, `${type.includes("ndjson") ? "--data-binary" : "-d"} ${quote(text)}`);
  }
  if (call.operationId === "stream") lines[0] = lines[0].replace("curl ", "curl -N ");
  return lines.join(" \\\n  ");
}

// A call

const SCHEMES = {
  producerKey: "producer key",
  userToken: "user's JWT",
  cookie: "cookie roundel",
  ticket: "ticket",
};

function security(call) {
  const schemes = call.security.flatMap(Object.keys);
  if (!schemes.length) return el("p.security", "No credentials needed.");
  return el("p.security", "Credentials: ", joined(schemes.map((name) =>
    el("span.scheme", { title: api.components.securitySchemes[name].description }, SCHEMES[name])), " or "));
}

function parametersOf(call) {
  const rows = (call.parameters ?? []).map(resolve).map((p) =>
    fieldRow(p.name, p.schema, { required: p.required, where: p.in, note: p.description }));
  return rows.length ? [el("h4", "Parameters"), el("dl.fields", rows)] : [];
}

function bodyOf(call) {
  return Object.entries(call.requestBody?.content ?? {}).flatMap(([type, media]) => {
    const schema = media["x-line"] ?? media.schema;
    const refs = schema.$ref ? [schema] : schema.anyOf;
    return [
      el("h4", "Body ", el("code.media", type), media["x-line"] && el("span.where", "per line")),
      refs.map((ref) => [refs.length > 1 && el("p.soft", schemaLink(ref.$ref)), fields(resolve(ref))]),
      exampleList(media, "Body"),
    ];
  });
}

function headersOf(answer) {
  const names = Object.keys(answer.headers ?? {});
  return names.length > 0 && el("p.headers", "Headers: ", joined(names.map((n) => el("code", n)), ", "));
}

function answerOf(status, answer) {
  const [[type, media] = []] = Object.entries(answer.content ?? {});
  return el("section.answer",
    el("h5", el("span.status.good", status), " ", inline(answer.description)),
    type && el("p.headers", el("code.media", type), " ",
      !media["x-events"] && typeOf(media["x-line"] ?? media.schema), media["x-line"] && " a line"),
    headersOf(answer),
    media?.["x-events"] && eventTable(media["x-events"]),
    media && exampleList(media, `Response ${status}`));
}

function eventTable(events) {
  return el("div.events", events.map((event) =>
    el("details", { "data-event": event.event },
      el("summary", el("code.name", event.event),
        el("span.where", event.id ? "moves the cursor" : "no id"), el("span.when", inline(event.when))),
      fields(resolve(event.data)),
      code(show(event.example), `Example of ${event.event}`))));
}

function problemOf(status, answer) {
  const [media] = Object.values(answer.content ?? {});
  return Object.entries(media.examples).map(([name, ref]) => {
    const example = resolve(ref);
    return el("details.problem", { "data-problem": name },
      el("summary", el("span.status", status), el("code.name", name), el("span.when", example.summary)),
      prose(example.description), headersOf(answer), code(show(example.value), `Problem ${name}`));
  });
}

const isProblem = ([, answer]) => "application/problem+json" in (answer.content ?? {});

function callCard(call) {
  const answers = Object.entries(call.responses);
  const id = call.operationId;
  const card = el("article.call", { id, "data-method": call.method, "aria-labelledby": `${id}-title` },
    el("header",
      el("h3", { id: `${id}-title` },
        el("span.method", call.method), el("code.path", joined(call.path.split("/"), ["/", el("wbr")]).flat()),
        el("a.anchor", { href: `#${id}`, "aria-label": `Link to ${call.summary}` }, "#")),
      el("p.summary", call.summary), security(call)),
    el("div.words", prose(call.description)),
    parametersOf(call),
    bodyOf(call),
    el("h4", "Answers"), answers.filter((a) => !isProblem(a)).map((a) => answerOf(...a)),
    el("h4", "Problems"),
    el("div.problems", answers.filter(isProblem).map((a) => problemOf(...a))),
    el("h4", "From a shell"), code(curl(call), `curl for ${call.summary}`));
  if (!answers.some(isProblem)) card.querySelector(".problems").replaceWith(el("p.soft", "None."));
  return card;
}

// The page

function group(tag, calls) {
  const id = `tag-${tag.name}`;
  return el("section.group", { id, "aria-labelledby": `${id}-title` },
    el("h2", { id: `${id}-title` }, tag.name), el("div.lead", prose(tag.description)),
    calls.map(callCard));
}

function contents(tag, calls) {
  return el("div.chapter", el("h2", tag.name),
    el("ul", calls.map((call) =>
      el("li", { "data-for": call.operationId },
        el("a", { href: `#${call.operationId}`, "data-method": call.method },
          el("span.method", call.method), el("span", call.summary))))));
}

function schemaCard([name, schema]) {
  const parts = schema.properties || schema.type === "object" ? fields(schema) : el("p", typeOf(schema));
  return el("article.schema", { id: `schema-${name}` },
    el("h3", el("code", name)), prose(schema.description), parts);
}

function render() {
  const calls = callsOf();
  const groups = api.tags.map((tag) => [tag, calls.filter((call) => call.tags.includes(tag.name))]);
  $("about").append(...prose(api.info.description));
  $("calls").append(...groups.map((g) => group(...g)));
  $("contents").append(...groups.map((g) => contents(...g)));
  $("schemas").append(...Object.entries(api.components.schemas).map(schemaCard));
  $("schemas").hidden = false;
  if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

function filter() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (node) => words.every((word) => node.textContent.toLowerCase().includes(word));
  let shown = 0;
  for (const card of document.querySelectorAll(".call")) {
    card.hidden = !fits(card);
    shown += !card.hidden;
    document.querySelector(`[data-for="${card.id}"]`).hidden = card.hidden;
  }
  for (const card of document.querySelectorAll(".schema")) card.hidden = !fits(card);
  for (const part of document.querySelectorAll(".group, .chapter"))
    part.hidden = !part.querySelector("article:not([hidden]), li:not([hidden])");
  $("about").hidden = words.length > 0;
  const all = document.querySelectorAll(".call").length;
  $("count").textContent = words.length ? `${shown} of ${all} calls` : `${all} calls`;
}

function keys(event) {
  const isTyping = event.target.matches?.("input, textarea");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    $("filter").focus();
  } else if (event.key === "Escape" && event.target === $("filter")) {
    $("filter").value = "";
    filter();
  }
}

/** Show the target of a link even if the filter hides it. */
function follow() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target || target.offsetParent) return;
  $("filter").value = "";
  filter();
  target.scrollIntoView();
}

try {
  const answer = await fetch(new URL("openapi.json", base));
  if (!answer.ok) throw new Error(`openapi.json: ${answer.status}`);
  api = await answer.json();
  render();
  filter();
  $("filter").addEventListener("input", filter);
  addEventListener("keydown", keys);
  addEventListener("hashchange", follow);
} catch (error) {
  $("trouble").textContent = `Cannot render the document: ${error.message}`;
  $("trouble").hidden = false;
}
