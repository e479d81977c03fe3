"use strict";
(async () => {
  const hidden = new Set();
  let drawn = 0;

  // Colours stand in the figures as CSS variables, so that one figure is right in light and in dark.
  const coloured = (value, style) =>
    Array.isArray(value) ? value.map(x => coloured(x, style))
    : value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v, style)]))
    : typeof value === "string" && value.startsWith("var(--") ? style.getPropertyValue(value.slice(4, -1)).trim()
    : value;

  const draw = async () => {
    const style = getComputedStyle(document.documentElement);
    for (const place of document.querySelectorAll(".plot")) {
      const figure = coloured(JSON.parse(place.nextElementSibling.textContent), style);
      const own = place.closest("section").id;
      for (const trace of figure.data) {
        if (hidden.has(own + " " + trace.meta)) trace.visible = false;
      }
      await Plotly.react(place, figure.data, figure.layout, {displayModeBar: false, responsive: true, scrollZoom: false});
    }
    document.documentElement.dataset.drawn = ++drawn;
  };

  try {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), c => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    await draw();
  } catch (error) {
    document.getElementById("no-plots").hidden = false;
    throw error;
  }

  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const key = button.closest("section").id + " " + button.dataset.series;
      const shown = hidden.delete(key);
      if (!shown) hidden.add(key);
      button.setAttribute("aria-pressed", String(shown));
      draw();
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
