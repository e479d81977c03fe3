// What is wrong with a page as it is laid out: a list of sentences, empty where nothing is.
(() => {
  const found = new Set();
  const name = node => JSON.stringify(node.textContent.trim().slice(0, 40));
  const once = make => { const seen = new Map(); return key => seen.has(key) ? seen.get(key) : (seen.set(key, make(key)), seen.get(key)); };

  if (document.documentElement.scrollWidth > innerWidth)
    found.add(`the page is ${document.documentElement.scrollWidth} wide in a window of ${innerWidth}`);

  // Every piece of text, by the lines that it is laid out in.
  const shown = once(e => e.checkVisibility({opacityProperty: true, visibilityProperty: true}));
  const place = once(e => e.getBoundingClientRect());
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const owner = node.parentElement;
    if (!node.textContent.trim() || owner.closest("script, style, noscript, .hoverlayer") || !shown(owner)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      if (box.width > 1 && box.height > 1) texts.push({node, owner, box, svg: owner.closest(".main-svg")});
    }
  }
  if (!texts.length) found.add("there is no text");

  for (const {node, owner, box, svg} of texts) {
    const frame = place(svg || owner.closest("td, th, button, li, p, summary") || document.body);
    if (box.left < frame.left - 1 || box.right > frame.right + 1 || (svg && (box.top < frame.top - 1 || box.bottom > frame.bottom + 1)))
      found.add(`cut: ${name(node)}`);
  }

  texts.sort((a, b) => a.box.top - b.box.top);
  for (let i = 0; i < texts.length; i++) {
    const a = texts[i];
    for (let j = i + 1; j < texts.length && texts[j].box.top < a.box.bottom; j++) {
      const b = texts[j];
      if (a.node === b.node) continue;
      const across = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
      const down = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
      if (across > 1 && down > 2) found.add(`overlap: ${name(a.node)} and ${name(b.node)}`);
    }
  }

  // WCAG 2: 4.5 for text, 3 for what has to be told apart in a plot.
  const channels = colour => (colour.match(/[\d.]+/g) || []).map(Number);
  const luminance = once(colour => {
    const [r, g, b] = channels(colour).map(x => (x /= 255) <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  });
  const contrast = (a, b) => {
    const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  const ground = once(e => {
    const colour = e ? getComputedStyle(e).backgroundColor : "rgb(255, 255, 255)";
    return channels(colour)[3] === 0 ? ground(e.parentElement) : colour;
  });
  const ink = once(e => (style => e instanceof SVGElement ? style.fill : style.color)(getComputedStyle(e)));
  for (const {node, owner, svg} of texts) {
    const value = contrast(ink(owner), ground(svg ? svg.parentElement : owner));
    if (value < 4.5) found.add(`contrast ${value.toFixed(1)}: ${name(node)}`);
  }
  for (const mark of document.querySelectorAll(".scatterlayer path.point, .legend path")) {
    const colour = mark.style.stroke;
    const value = contrast(colour.startsWith("rgb") ? colour : getComputedStyle(mark).stroke, ground(mark.closest(".plot, button")));
    if (value < 3) found.add(`contrast ${value.toFixed(1)}: a mark in ${colour}`);
  }
  for (const bar of document.querySelectorAll(".barlayer path")) {
    const value = contrast(getComputedStyle(bar).fill, ground(bar.closest(".plot")));
    if (value < 3) found.add(`contrast ${value.toFixed(1)}: a bar in ${getComputedStyle(bar).fill}`);
  }
  return [...found];
})()
