// What happens on a shop page, told to the collector by wakeline.js. The cart and the login live in this browser only.
"use strict";

const FEED_LENGTH = 30;

const { page } = JSON.parse(document.getElementById("shop").textContent);
const money = new Intl.NumberFormat("en", { style: "currency", currency: "EUR" });
const byId = (id) => document.getElementById(id);

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is missing where there is no TLS.
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const read = (name, otherwise) => JSON.parse(localStorage.getItem(name)) ?? otherwise;
const write = (name, value) => localStorage.setItem(name, JSON.stringify(value));
const user = () => read("shop.user", null);

// Telling the collector

const wakeline = (window.wakeline ??= []);

/** Calls a method of wakeline.js, now or when it is there. */
const tell = (method, ...values) => wakeline.push([method, ...values]);

function identify() {
  const { id, email, firstName, marketing } = user();
  tell("identify", id, { email, ...(firstName && { firstName }) });
  tell("consent", { analytics: true, marketing }); // Afterwards, as it is the word of this person.
}

/** The list in the corner: what wakeline.js has sent, and what the collector answered. */
function show(events, status) {
  byId("feed-dot").className = status === 200 ? "dot fine" : "dot failed";
  if (!status) return; // Nobody answered; the same events come again.
  byId("feed-count").textContent = Number(byId("feed-count").textContent) + events.length;
  for (const message of events) {
    const line = document.createElement("li");
    for (const text of [message.event ?? message.type, status === 200 ? "received" : `refused (${status})`]) {
      line.appendChild(document.createElement("span")).textContent = text;
    }
    byId("feed-list").prepend(line);
  }
  while (byId("feed-list").children.length > FEED_LENGTH) byId("feed-list").lastChild.remove();
}

// wakeline.js keeps its requests to itself; this page looks over its shoulder.
const send = window.fetch;
window.fetch = async (address, options) => {
  const answer = send(address, options);
  if (new URL(address, location.href).pathname === "/v1/batch") {
    const { batch } = JSON.parse(options.body);
    answer.then(({ status }) => show(batch, status), () => show(batch, 0));
  }
  return answer;
};

// The cart

const cart = () => read("shop.cart", []);
function cartId() {
  if (!localStorage.getItem("shop.cart_id")) localStorage.setItem("shop.cart_id", newId());
  return localStorage.getItem("shop.cart_id");
}
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
  tell(step > 0 ? "productAdded" : "productRemoved", { cart_id: cartId(), ...facts(rest), quantity: 1 });
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
  identify();
  return true;
}

function logOut() {
  for (const name of ["shop.user", "shop.cart", "shop.cart_id"]) localStorage.removeItem(name);
  tell("reset");
  location.assign("/shop");
}

async function order(form) {
  if (!user() && !(await logIn(form))) return;
  const lines = cart();
  const order_id = newId().slice(0, 10).toUpperCase();
  const total = totalOf(lines);
  tell("orderCompleted", {
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

const { category, product, list } = page;
tell("setPageProperties", { ...(category && { category }), ...(product && { product_id: product.product_id }) });
tell("page", page.name, category ? { category } : {});
if (product) tell("productViewed", facts(product));
if (list) {
  const products = list.map((one, index) => ({ ...facts(one), position: index + 1 }));
  tell("productListViewed", { list_id: `list-${category}`, category, products });
}
if (byId("lines") && cart().length) {
  const shown = { cart_id: cartId(), total: totalOf(cart()), currency: cart()[0].currency, products: cart().map(facts) };
  tell(byId("order") ? "checkoutStarted" : "cartViewed", shown);
}
