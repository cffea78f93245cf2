// What happens on a shop page, told to the collector as Segment messages (https://segment.com/docs/connections/spec/).
// The cart and the login live in this browser only.
"use strict";

const HEARTBEAT_SECONDS = 5;
const IDLE_MS = 30_000;
const RETRY_MS = 2_000;
const BATCH = 50;
const FEED_LENGTH = 30;

const { collector, page } = JSON.parse(document.getElementById("shop").textContent);
const money = new Intl.NumberFormat("en", { style: "currency", currency: "EUR" });
const byId = (id) => document.getElementById(id);

// Who

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is missing where there is no TLS.
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function kept(storage, name, make) {
  const found = storage.getItem(name);
  if (found) return found;
  const made = make();
  storage.setItem(name, made);
  return made;
}

const read = (name, otherwise) => JSON.parse(localStorage.getItem(name)) ?? otherwise;
const write = (name, value) => localStorage.setItem(name, JSON.stringify(value));

const anonymousId = () => kept(localStorage, "shop.anonymous", newId);
const sessionId = () => kept(sessionStorage, "shop.session", newId);
const user = () => read("shop.user", null);

// Telling the collector

// Kept by the tab, so that what the collector has not confirmed goes along to the next page.
const waiting = JSON.parse(sessionStorage.getItem("shop.waiting")) ?? [];
let inFlight = 0;

function context() {
  const said = user();
  return {
    page: {
      path: location.pathname,
      referrer: document.referrer,
      search: location.search,
      title: document.title,
      url: location.href,
    },
    ...(said && { consent: { categoryPreferences: { marketing: said.marketing } } }),
    library: { name: "wakeline-shop" },
    locale: navigator.language,
    sessionId: sessionId(),
    timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    userAgent: navigator.userAgent,
  };
}

function tell(type, body) {
  const userId = user()?.id;
  waiting.push({
    messageId: newId(),
    type,
    timestamp: new Date().toISOString(),
    anonymousId: anonymousId(),
    ...(userId && { userId }),
    context: context(),
    ...body,
  });
  keepWaiting();
  return send();
}

function keepWaiting() {
  sessionStorage.setItem("shop.waiting", JSON.stringify(waiting));
}

const track = (event, properties) => tell("track", { event, properties });

async function send() {
  while (waiting.length && !inFlight) {
    const batch = waiting.slice(0, BATCH);
    inFlight = batch.length;
    const outcome = await post(batch);
    inFlight = 0;
    if (outcome === "later") {
      setTimeout(send, RETRY_MS);
      return;
    }
    waiting.splice(0, batch.length);
    keepWaiting();
    show(batch, outcome);
  }
}

function sendLast() {
  beat();
  if (waiting.length > inFlight) post(waiting.slice(inFlight));
}

async function post(batch) {
  try {
    const answer = await fetch(`${collector.url}/v1/batch`, {
      method: "POST",
      keepalive: true, // What was said must arrive even if the page is left.
      headers: { "Content-Type": "application/json", Authorization: `Basic ${btoa(`${collector.write_key}:`)}` },
      body: JSON.stringify({ batch, sentAt: new Date().toISOString() }),
    });
    if (answer.ok) return "received";
    if (answer.status !== 429 && answer.status < 500) return `refused (${answer.status})`;
  } catch (error) {
    console.warn("The collector cannot be reached; trying again.", error);
  }
  byId("feed-dot").className = "dot failed";
  return "later";
}

function show(batch, outcome) {
  byId("feed-dot").className = outcome === "received" ? "dot fine" : "dot failed";
  byId("feed-count").textContent = Number(byId("feed-count").textContent) + batch.length;
  for (const message of batch) {
    const line = document.createElement("li");
    for (const text of [message.event ?? message.type, outcome]) {
      line.appendChild(document.createElement("span")).textContent = text;
    }
    byId("feed-list").prepend(line);
  }
  while (byId("feed-list").children.length > FEED_LENGTH) byId("feed-list").lastChild.remove();
}

function identify() {
  const { email, firstName } = user();
  return tell("identify", { traits: { email, ...(firstName && { firstName }) } });
}

// Attention: seconds count while the page is visible and the person does something now and then.

const attention = { active: performance.now(), looked: performance.now(), seconds: 0, scrolled: 0 };

function scrollDepth() {
  const { scrollHeight } = document.documentElement;
  return Math.min(100, Math.round((100 * (scrollY + innerHeight)) / scrollHeight));
}

function attend() {
  const now = performance.now();
  const engaged = document.visibilityState === "visible" && now - attention.active < IDLE_MS;
  // A computer that slept leaves a gap that nobody spent on the page.
  if (engaged) attention.seconds += Math.min((now - attention.looked) / 1000, 2);
  attention.looked = now;
  attention.scrolled = Math.max(attention.scrolled, scrollDepth());
  if (attention.seconds >= HEARTBEAT_SECONDS) beat();
}

function beat() {
  const engaged_seconds = Math.round(attention.seconds * 10) / 10;
  if (engaged_seconds <= 0) return;
  attention.seconds = 0;
  track("Page Engaged", {
    engaged_seconds,
    scroll_depth_percent: attention.scrolled,
    path: location.pathname,
    ...(page.category && { category: page.category }),
    ...(page.product && { product_id: page.product.product_id }),
  });
}

for (const name of ["pointerdown", "pointermove", "keydown", "scroll", "touchstart"]) {
  addEventListener(name, () => { attention.active = performance.now(); }, { passive: true });
}
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden") beat();
  attention.looked = attention.active = performance.now();
});
addEventListener("pagehide", sendLast);
setInterval(attend, 1000);

// The cart

const cart = () => read("shop.cart", []);
const cartId = () => kept(localStorage, "shop.cart_id", newId);
const totalOf = (lines) => Math.round(lines.reduce((sum, line) => sum + line.price * line.quantity, 0) * 100) / 100;

/** A product as it goes into events: mails and other pages need whole addresses. */
function facts(product) {
  const whole = (path) => new URL(path, location.origin).href;
  return { ...product, url: whole(product.url), image_url: whole(product.image_url) };
}

function change(product, step) {
  const lines = cart();
  let line = lines.find((one) => one.product_id === product.product_id);
  if (!line) lines.push((line = { ...product, quantity: 0 }));
  line.quantity += step;
  write("shop.cart", lines.filter((one) => one.quantity > 0));
  const { quantity, ...rest } = line;
  track(step > 0 ? "Product Added" : "Product Removed", { cart_id: cartId(), ...facts(rest), quantity: 1 });
  showBasket();
}

function showBasket() {
  const count = cart().reduce((sum, line) => sum + line.quantity, 0);
  byId("basket-count").textContent = count;
  byId("basket-count").hidden = count === 0;
}

function showCart() {
  const lines = cart();
  byId("cart").hidden = lines.length === 0;
  byId("cart-empty").hidden = lines.length > 0;
  byId("total").textContent = money.format(totalOf(lines));
  byId("lines").replaceChildren(...lines.map(cartLine));
}

function cartLine(line) {
  const row = byId("line").content.firstElementChild.cloneNode(true);
  for (const link of row.querySelectorAll("[data-link]")) link.href = line.url;
  row.querySelector("[data-image]").src = line.image_url;
  row.querySelector("[data-name]").textContent = line.name;
  row.querySelector("[data-brand]").textContent = line.brand;
  row.querySelector("[data-quantity]").textContent = line.quantity;
  row.querySelector("[data-price]").textContent = money.format(line.price * line.quantity);
  for (const button of row.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => { change(line, Number(button.dataset.step)); showCart(); });
  }
  return row;
}

// Login and order

async function logIn(form) {
  const problem = form.querySelector("[data-problem]");
  const email = form.elements.email.value;
  const answer = await fetch("/shop/login", { method: "POST", body: JSON.stringify({ email }) });
  const said = await answer.json();
  problem.hidden = answer.ok;
  problem.textContent = said.error ?? "";
  if (!answer.ok) return false;
  write("shop.user", {
    id: said.user_id,
    email: said.email,
    firstName: form.elements.first_name.value.trim(),
    marketing: form.elements.marketing.checked,
  });
  await identify();
  return true;
}

function logOut() {
  for (const name of ["shop.user", "shop.anonymous", "shop.cart", "shop.cart_id"]) localStorage.removeItem(name);
  sessionStorage.removeItem("shop.session");
  location.assign("/shop");
}

async function order(form) {
  if (!user() && !(await logIn(form))) return;
  const lines = cart();
  const order_id = newId().slice(0, 10).toUpperCase();
  const total = totalOf(lines);
  track("Order Completed", {
    order_id,
    cart_id: cartId(),
    total,
    revenue: total,
    currency: lines[0].currency,
    products: lines.map(facts),
  });
  localStorage.removeItem("shop.cart");
  localStorage.removeItem("shop.cart_id");
  showBasket();
  showPerson();
  byId("order-id").textContent = order_id;
  byId("cart").hidden = byId("checkout-title").hidden = true;
  byId("ordered").hidden = false;
}

function onSubmit(id, action) {
  byId(id)?.addEventListener("submit", (event) => {
    event.preventDefault();
    action(event.target);
  });
}

function showPerson() {
  const known = user();
  byId("account").textContent = known ? known.firstName || known.email : "Log in";
  for (const place of document.querySelectorAll("[data-person]")) place.textContent = known?.email ?? "";
  for (const place of document.querySelectorAll("h1 [data-name]")) {
    place.textContent = known?.firstName ? `, ${known.firstName}` : "";
  }
  if (byId("guest")) byId("guest").hidden = Boolean(known);
  if (byId("member")) byId("member").hidden = !known;
  if (byId("consent")) byId("consent").elements.marketing.checked = Boolean(known?.marketing);
  if (byId("known")) {
    byId("known").hidden = !known;
    byId("who").hidden = Boolean(known);
    byId("who").querySelectorAll("input").forEach((input) => { input.disabled = Boolean(known); });
  }
}

function changeConsent(marketing) {
  write("shop.user", { ...user(), marketing });
  identify();
  byId("consent-said").textContent = marketing ? "Thank you, noted." : "Noted: no more of these mails.";
  byId("consent-said").hidden = false;
}

// This page

showBasket();
showPerson();
if (byId("cart")) showCart();

byId("add")?.addEventListener("click", () => {
  change(page.product, 1);
  byId("added").hidden = false;
});
byId("logout")?.addEventListener("click", logOut);
byId("consent")?.elements.marketing.addEventListener("change", (event) => changeConsent(event.target.checked));
onSubmit("login", async (form) => { if (await logIn(form)) showPerson(); });
onSubmit("consent", () => {});
onSubmit("order", order);

tell("page", {
  name: page.name,
  properties: { ...context().page, name: page.name, ...(page.category && { category: page.category }) },
});
if (page.product) track("Product Viewed", facts(page.product));
if (page.list) {
  const products = page.list.map((product, index) => ({ ...facts(product), position: index + 1 }));
  track("Product List Viewed", { list_id: `list-${page.category}`, category: page.category, products });
}
