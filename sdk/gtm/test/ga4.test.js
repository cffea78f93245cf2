// Payloads of the GA4 reference, as a shop pushes them:
// https://developers.google.com/analytics/devguides/collection/ga4/ecommerce?client_type=gtm
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Page } from "./harness/apis.js";
import { fire } from "./harness/sandbox.js";
import { readTemplate } from "./harness/template.js";

const template = readTemplate(new URL("../template.tpl", import.meta.url));
const payloads = JSON.parse(readFileSync(new URL("ga4-payloads.json", import.meta.url), "utf8"));

const TEE = {
  affiliation: "Google Merchandise Store", brand: "Google", category: "Apparel", coupon: "SUMMER_FUN", discount: 2.22,
  item_category2: "Adult", item_category3: "Shirts", item_category4: "Crew", item_category5: "Short sleeve",
  list_id: "related_products", list_name: "Related Products", location_id: "ChIJIQBpAG2ahYAR_6128GcTUEo",
  name: "Stan and Friends Tee", position: 0, price: 10.01, product_id: "SKU_12345", quantity: 3, variant: "green",
};

function sent(event, ecommerce = payloads[event]) {
  const before = new Page({ dataLayer: { event, ecommerce } });
  const { page, success, failure } = fire(template, { tagType: "ecommerce" }, before);
  assert.deepEqual([success, failure], [1, 0], page.console.join());
  return page.window.wakeline.map(([method, name, properties]) => {
    assert.equal(method, "track");
    return [name, properties];
  });
}

for (const [event, name] of [
  ["add_to_cart", "Product Added"],
  ["add_to_wishlist", "Product Added to Wishlist"],
  ["remove_from_cart", "Product Removed"],
  ["view_item", "Product Viewed"],
]) {
  test(`${event} is ${name} with the product's own properties`, () => {
    assert.deepEqual(sent(event), [[name, { currency: "USD", ...TEE }]]);
  });
}

test("select_item is Product Clicked with the list it was in", () => {
  assert.deepEqual(sent("select_item"), [["Product Clicked", TEE]]);
});

test("view_item_list is Product List Viewed with all products", () => {
  const [[name, { products, ...rest }]] = sent("view_item_list");
  assert.equal(name, "Product List Viewed");
  assert.deepEqual(rest, { list_id: "related_products", list_name: "Related Products", currency: "USD" });
  assert.deepEqual(products.map(({ product_id, position }) => [product_id, position]), [
    ["SKU_12345", 0],
    ["SKU_12346", 1],
  ]);
});

for (const [event, name, extra] of [
  ["view_cart", "Cart Viewed", {}],
  ["begin_checkout", "Checkout Started", { coupon: "SUMMER_FUN" }],
  ["add_payment_info", "Payment Info Entered", { coupon: "SUMMER_FUN", payment_method: "Credit Card" }],
  ["add_shipping_info", "Checkout Step Completed", { coupon: "SUMMER_FUN", shipping_method: "Ground" }],
]) {
  test(`${event} is ${name} with the whole cart`, () => {
    assert.deepEqual(sent(event), [[name, { currency: "USD", value: 30.03, ...extra, products: [TEE] }]]);
  });
}

test("purchase is Order Completed with what was paid", () => {
  const [[name, { products, ...order }], ...others] = sent("purchase");
  assert.equal(name, "Order Completed");
  assert.deepEqual(others, []);
  assert.deepEqual(order, {
    order_id: "T_12345", revenue: 72.05, total: 79.64, tax: 3.6, shipping: 3.99, currency: "USD", coupon: "SUMMER_SALE",
    customer_type: "new",
  });
  assert.deepEqual(products.map(({ product_id, price, quantity }) => [product_id, price, quantity]), [
    ["SKU_12345", 10.01, 3],
    ["SKU_12346", 21.01, 2],
  ]);
});

test("refund is Order Refunded", () => {
  const [[name, { products, ...order }]] = sent("refund");
  assert.equal(name, "Order Refunded");
  assert.equal(order.order_id, "T_12345");
  assert.equal(order.total, 37.62);
  assert.equal(products.length, 1);
});

for (const [event, name] of [
  ["view_promotion", "Promotion Viewed"],
  ["select_promotion", "Promotion Clicked"],
]) {
  const expected = {
    creative: "Summer Banner", position: "featured_app_1", promotion_id: "P_12345", name: "Summer Sale",
  };

  test(`${event} is ${name}, told by the event`, () => {
    assert.deepEqual(sent(event), [[name, expected]]);
  });

  test(`${event} is one ${name} for each promotion that the items tell`, () => {
    const { items, ...told } = payloads[event];
    const byItems = [{ ...items[0], ...told }, { ...items[0], ...told }, { ...items[0], promotion_id: "P_2" }];
    assert.deepEqual(sent(event, { items: byItems }), [[name, expected], [name, { promotion_id: "P_2" }]]);
  });
}

test("amounts that came as text become numbers, and others stay as they came", () => {
  const amounts = { value: "72.05", tax: "3.60", shipping: "free" };
  const [[, order]] = sent("purchase", { transaction_id: "T1", ...amounts, items: [] });
  assert.deepEqual(order, { order_id: "T1", revenue: 72.05, total: 75.65, tax: 3.6, shipping: "free" });
});

test("a total and a revenue that the data layer names win", () => {
  const amounts = { value: 72.05, tax: 3.6, total: 80, revenue: 70 };
  const [[, order]] = sent("purchase", { transaction_id: "T1", ...amounts, items: [] });
  assert.deepEqual([order.total, order.revenue], [80, 70]);
});

test("an order without a value gets no total", () => {
  const [[, order]] = sent("purchase", { transaction_id: "T1", items: [] });
  assert.deepEqual(order, { order_id: "T1" });
});

test("every event of the mapping has a payload of the reference", () => {
  const mapped = [...template.code.matchAll(/^ {2}(\w+): \{name: '/gm)].map(([, name]) => name);
  assert.deepEqual(mapped.sort(), Object.keys(payloads).sort());
});
