// What a reader would trip over, of a page that is shown: measured where it is laid out.
addEventListener("load", () => {
  const faults = [];
  const say = (what, node) => faults.push(`${what}: ${node.textContent.trim().slice(0, 60)}`);
  if (document.documentElement.scrollWidth > innerWidth) {
    faults.push(`the page is ${document.documentElement.scrollWidth} wide in a window of ${innerWidth}`);
  }
  for (const loaded of performance.getEntriesByType("resource")) faults.push(`it loads ${loaded.name}`);
  for (const link of document.querySelectorAll("a[href^='#']")) {
    if (!document.getElementById(link.hash.slice(1))) say("a link to nothing", link);
  }
  const over = (a, b) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2;
  const pictures = [...document.querySelectorAll("svg")];
  for (const svg of pictures) {
    const frame = svg.getBoundingClientRect();
    if (frame.width < 50 || frame.height < 20) say("a picture without a size", svg);
    for (const node of svg.querySelectorAll("*")) {
      for (const { name, value } of node.attributes) {
        if (/\b(NaN|-?inf)\b/.test(value) && name !== "class") say(`${name} is no number`, node);
      }
    }
    const texts = [...svg.querySelectorAll("text")].map((node) => [node, node.getBoundingClientRect()]);
    texts.forEach(([node, box], at) => {
      const inside =
        box.left >= frame.left - 1 && box.right <= frame.right + 1 &&
        box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1;
      if (box.width > 0 && !inside) say("text outside its picture", node);
      // The box of a turned text is larger than its ink.
      if (node.hasAttribute("transform")) return;
      for (const [other, place] of texts.slice(at + 1)) {
        if (!other.hasAttribute("transform") && over(box, place)) say(`text over ${other.textContent}`, node);
      }
    });
  }
  const told = new TextEncoder().encode(JSON.stringify({ pictures: pictures.length, faults }));
  document.body.dataset.told = Array.from(told, (byte) => byte.toString(16).padStart(2, "0")).join("");
});
