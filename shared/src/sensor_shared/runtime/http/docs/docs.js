"use strict";
// Shows /openapi.json. Everything is set as text, never as markup.

const METHODS = ["get", "post", "put", "patch", "delete"];

function element(name, content, attributes = {}) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...[content ?? ""].flat());
  return made;
}

function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return element("a", name, { href: `#schema-${name}` });
  }
  const options = schema.anyOf ?? schema.oneOf;
  if (options) return options.flatMap((option, i) => (i ? [" or ", typeOf(option)] : [typeOf(option)]));
  if (schema.type === "array") return ["array of ", typeOf(schema.items)].flat();
  if (schema.enum) return schema.enum.join(" | ");
  return schema.format ? `${schema.type} (${schema.format})` : schema.type ?? "any";
}

function limits(schema = {}) {
  const shown = ["default", "minimum", "maximum", "minLength", "maxLength", "pattern"];
  return shown.filter((key) => schema[key] !== undefined && schema[key] !== null)
    .map((key) => `${key} ${schema[key]}`).join(", ");
}

function table(headings, rows) {
  const head = element("tr", headings.map((heading) => element("th", heading)));
  const body = rows.map((row) => element("tr", row.map((cell) => element("td", cell))));
  return element("table", [element("thead", head), element("tbody", body)]);
}

function contents(holder) {
  return Object.entries(holder?.content ?? {})
    .flatMap(([kind, media]) => [`${kind}: `, typeOf(media.schema)].flat());
}

function operation(method, path, described) {
  const scopes = (described.security ?? []).flatMap((one) => Object.values(one).flat());
  const needs = (described.security ?? []).length ? `token, ${scopes.join(", ")}` : "open";
  const parts = [
    element("summary", [
      element("span", method.toUpperCase(), { class: "method" }),
      element("code", path), ` ${described.summary ?? ""}`,
      element("span", needs, { class: "needs" }),
    ]),
    element("p", described.description),
  ];
  if (described.parameters) {
    parts.push(element("h4", "Parameters"), table(["name", "in", "type", "limits", "meaning"],
      described.parameters.map((one) => [
        element("code", one.name + (one.required ? " *" : "")), one.in, typeOf(one.schema),
        limits(one.schema), one.description ?? "",
      ])));
  }
  if (described.requestBody) parts.push(element("h4", "Body"), element("p", contents(described.requestBody)));
  parts.push(element("h4", "Answers"), table(["status", "meaning", "content"],
    Object.entries(described.responses).map(([status, one]) => [status, one.description, contents(one)])));
  return element("details", parts);
}

function schema(name, described) {
  const required = new Set(described.required ?? []);
  const rows = Object.entries(described.properties ?? {}).map(([key, one]) => [
    element("code", key + (required.has(key) ? " *" : "")), typeOf(one), limits(one), one.description ?? "",
  ]);
  const shown = rows.length ? table(["field", "type", "limits", "meaning"], rows) : element("p", typeOf(described));
  return element("details", [element("summary", element("code", name)), element("p", described.description), shown],
    { id: `schema-${name}` });
}

function openLinked() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) { target.open = true; target.scrollIntoView(); }
}

async function show() {
  const page = document.getElementById("page");
  const answer = await fetch("/openapi.json");
  if (!answer.ok) { page.replaceChildren(element("p", `/openapi.json answered ${answer.status}`)); return; }
  const api = await answer.json();
  document.title = api.info.title;
  const parts = [
    element("h1", [`${api.info.title} `, element("small", api.info.version)]),
    element("p", api.info.description),
    element("p", element("a", "/openapi.json", { href: "/openapi.json" })),
  ];
  const all = Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => [method, path, item[method]]));
  for (const tag of api.tags ?? []) {
    parts.push(element("h2", tag.name), element("p", tag.description));
    parts.push(...all.filter(([, , one]) => one.tags?.includes(tag.name)).map((one) => operation(...one)));
  }
  parts.push(element("h2", "Schemas"));
  parts.push(...Object.entries(api.components?.schemas ?? {}).map(([name, one]) => schema(name, one)));
  page.replaceChildren(...parts);
  addEventListener("hashchange", openLinked);
  openLinked();
}

show();
