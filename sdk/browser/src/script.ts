/** The element of the script that runs; an image with this name, put into the page, would take its place. */
export function currentScript(): HTMLScriptElement | undefined {
  const { currentScript: found } = document;
  return found instanceof HTMLScriptElement ? found : undefined;
}
