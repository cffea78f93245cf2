// Keeps the list up to date and opens mails beside it. Rows are matched by key, so nothing that stays is drawn again.
"use strict";

const POLL_MS = 1000;
const rows = document.getElementById("rows");
const pane = document.getElementById("pane");
const filter = document.getElementById("filter");
const live = document.body.dataset.live === "yes";
let shown = "";
let asked = 0;

const time = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat([], { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat([], { dateStyle: "full", timeStyle: "medium" });
const number = new Intl.NumberFormat("en");

function query() {
  const values = new URLSearchParams();
  for (const [name, value] of new FormData(filter)) if (value.trim()) values.set(name, value.trim());
  return values;
}

function withQuery(path, values) {
  return values.size ? `${path}?${values}` : path;
}

function showTime(element, ms) {
  const moment = new Date(ms);
  const today = moment.toDateString() === new Date().toDateString();
  element.textContent = (today ? time : day).format(moment);
  element.title = full.format(moment);
}

function newRow(head) {
  const row = document.getElementById("row").content.firstElementChild.cloneNode(true);
  row.dataset.key = head.key;
  for (const field of row.querySelectorAll("[data-field]")) field.textContent = head[field.dataset.field];
  showTime(row.querySelector("time"), head.at_ms);
  return row;
}

function showRows(heads, fresh) {
  const known = new Map([...rows.children].map((row) => [row.dataset.key, row]));
  const values = query();
  heads.forEach((head, index) => {
    const row = known.get(head.key) ?? newRow(head);
    if (!known.delete(head.key) && fresh) row.classList.add("fresh");
    row.firstElementChild.href = withQuery(`/mails/${head.key}`, values);
    if (rows.children[index] !== row) rows.insertBefore(row, rows.children[index] ?? null);
  });
  for (const row of known.values()) row.remove();
  markOpen();
}

function markOpen() {
  for (const link of rows.querySelectorAll("a")) {
    if (new URL(link.href).pathname === location.pathname) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

function showCounts(listing) {
  const values = query();
  document.getElementById("count").textContent = `${number.format(listing.total)} mail${listing.total === 1 ? "" : "s"}`;
  const soFar = listing.searched < listing.total ? ` in the newest ${number.format(listing.searched)} so far` : "";
  const found = document.getElementById("found");
  found.textContent = `${number.format(listing.matching)} found${soFar}`;
  found.hidden = values.size === 0;
  document.getElementById("empty").hidden = listing.heads.length > 0 || values.size > 0;
  const older = document.getElementById("older");
  older.hidden = !listing.older;
  if (listing.older) values.set("before", listing.older);
  older.href = withQuery("/", values);
}

function showCampaigns(names) {
  const select = filter.elements.campaign;
  const present = new Set([...select.options].map((option) => option.value));
  for (const name of names) if (!present.has(name)) select.add(new Option(name, name));
}

async function look(fresh) {
  const turn = ++asked;
  const answer = await fetch(withQuery("/outbox.json", query()));
  if (!answer.ok) throw new Error(`the outbox answered ${answer.status}`);
  const text = await answer.text();
  if (turn !== asked || text === shown) return;
  shown = text;
  const listing = JSON.parse(text);
  showRows(listing.heads, fresh);
  showCounts(listing);
  showCampaigns(listing.campaigns);
}

async function lookAndTell(fresh) {
  const pulse = document.getElementById("pulse");
  try {
    await look(fresh);
    pulse.className = "pulse";
    pulse.textContent = "live";
  } catch {
    pulse.className = "pulse lost";
    pulse.textContent = "connection lost, trying again";
  }
}

async function keepLooking() {
  if (!document.hidden) await lookAndTell(true);
  setTimeout(keepLooking, POLL_MS);
}

async function openMail(path) {
  const answer = await fetch(`${new URL(path, location).pathname}/pane`);
  if (!answer.ok) return location.assign(path);
  pane.innerHTML = await answer.text(); // Written, and escaped, by our own server.
  document.body.toggleAttribute("data-open", true);
  document.title = `${pane.querySelector("[data-title]").dataset.title} · Outbox`;
  markOpen();
}

rows.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  history.pushState(null, "", link.href);
  openMail(link.href);
});

addEventListener("popstate", () => {
  if (location.pathname.startsWith("/mails/")) openMail(location.href);
  else location.reload();
});

for (const element of rows.querySelectorAll("time")) showTime(element, Number(element.dataset.ms));

filter.addEventListener("submit", (event) => {
  if (live) event.preventDefault();
});

if (live) {
  filter.addEventListener("input", () => {
    history.replaceState(null, "", withQuery(location.pathname, query()));
    lookAndTell(false);
  });
  keepLooking();
}
