import { listen } from "./guard";

const PROPERTY = "data-wakeline-property-";
const MOST_TEXT = 100;

/** Clicks on elements that ask for it by a data attribute, wherever in the page and whenever they were added. */
export function watchClicks(track: (event: string, properties: Record<string, unknown>) => void): void {
  listen(document, "click", (event) => {
    const [origin] = event.composedPath();
    const element = origin instanceof Element && origin.closest("[data-wakeline-event],[data-wakeline-click]");
    if (!element) return;
    const name = element.getAttribute("data-wakeline-event");
    track(name || "Element Clicked", { ...(name ? {} : described(element)), ...propertiesOf(element) });
  });
}

function propertiesOf(element: Element): Record<string, string> {
  const given = [...element.attributes].filter(({ name }) => name.startsWith(PROPERTY));
  return Object.fromEntries(given.map(({ name, value }) => [name.slice(PROPERTY.length), value]));
}

function described(element: Element): Record<string, string | undefined> {
  return {
    text: element.textContent?.trim().replace(/\s+/g, " ").slice(0, MOST_TEXT) || undefined,
    href: (element.closest("a[href]") as HTMLAnchorElement | null)?.href,
    id: element.id || undefined,
  };
}
