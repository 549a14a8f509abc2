// Opens pages of ours in a headless Chromium and looks at them as people do: with eyes, keys and a screen reader's rules.
//   npm ci --prefix tests/browser
//   node tests/browser/check.mjs [--browser PATH] [--screenshots FOLDER] PAGE.html ...
// A line for each problem; exit code 1 if there is one.
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const MOST_BYTES = 15e6;
const PATIENCE = 180_000; // milliseconds, of a busy machine
const PHONE = {viewport: {width: 390, height: 844}, isMobile: true, hasTouch: true};
const DESKTOP = {viewport: {width: 1280, height: 900}};
const VIEWS = { // 320 pixels: what is left of a desktop at a zoom of 400 % (WCAG 1.4.10)
  phone: PHONE,
  "narrow phone": {...PHONE, viewport: {width: 320, height: 640}},
  desktop: DESKTOP,
  "desktop, dark": {...DESKTOP, colorScheme: "dark"},
};
const OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

const {values: args, positionals: pages} = parseArgs({
  options: {browser: {type: "string", default: "/usr/bin/chromium"}, screenshots: {type: "string"}},
  allowPositionals: true,
});
const problems = [];
const browser = await chromium.launch({executablePath: args.browser, args: OPTIONS});
if (args.screenshots) mkdirSync(args.screenshots, {recursive: true});
for (const path of pages) await checkPage(resolve(path));
await browser.close();
console.log(problems.length ? problems.join("\n") : `${pages.length} pages, no problem`);
process.exitCode = problems.length ? 1 : 0;

async function checkPage(path) {
  const note = (where, text) => problems.push(`${basename(path)}, ${where}: ${text}`);
  if (statSync(path).size >= MOST_BYTES) note("size", `${(statSync(path).size / 1e6).toFixed(1)} MB`);
  for (const [name, view] of Object.entries(VIEWS)) {
    const say = text => note(name, text);
    const page = await opened(path, view, say);
    await looks(page, say);
    if (args.screenshots) {
      const file = `${basename(path, ".html")} ${name}.png`.replaceAll(/[ ,]+/g, "-");
      await page.screenshot({path: join(args.screenshots, file), fullPage: true});
    }
    if (["phone", "desktop, dark"].includes(name)) await accessible(page, say);
    if (name === "phone" || name === "desktop") {
      await curvesAnswer(page, say);
      await picturesBlend(page, say);
    }
    if (name === "desktop") {
      await keyboardReaches(page, say);
      await reloads(page, say);
    }
    await page.context().close();
  }
  await withoutScripts(path, text => note("without scripts", text));
}

async function opened(path, view, say) {
  const page = await (await browser.newContext(view)).newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on("pageerror", error => say(`script: ${error.message}`));
  page.on("console", message => message.type() === "error" && say(`console: ${message.text()}`));
  page.on("request", request => /^(file|data|blob):/.test(request.url()) || say(`asks for ${request.url()}`));
  await page.goto(pathToFileURL(path).href);
  await page.evaluate(() => document.querySelectorAll("details").forEach(details => { details.open = true; }));
  await page.waitForFunction(() => [...document.querySelectorAll(".chart")].every(c => c.querySelector(".main-svg"))
    && [...document.images].every(image => image.complete && image.naturalWidth));
  return page;
}

// Nothing sticks out to the right.
async function looks(page, say) {
  const [wide, inner] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  if (wide > inner) say(`is ${wide} pixels wide on a screen of ${inner}`);
}

// Every rule of axe-core, best practices and the size of what fingers touch among them.
async function accessible(page, say) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => axe.run(document, {rules: {"target-size": {enabled: true}}}));
  if (!found.passes.length) say("axe-core looked at nothing");
  for (const rule of found.violations) {
    const first = rule.nodes[0];
    say(`axe ${rule.impact} ${rule.id}, ${rule.nodes.length} times: ${first.html.slice(0, 200)} ${first.failureSummary}`);
  }
}

// A slider below a curve shows and says the values of all lines at a step.
async function curvesAnswer(page, say) {
  for (const slider of await page.locator("input.steps:visible").all()) {
    const label = await slider.getAttribute("aria-label");
    const lines = await slider.evaluate(input => input.closest("figure").querySelector(".chart").data.map(line => line.name));
    await slider.focus();
    const before = await slider.getAttribute("aria-valuetext");
    await page.keyboard.press("ArrowLeft");
    const said = await slider.getAttribute("aria-valuetext");
    if (+await slider.getAttribute("max") && said === before) say(`${label}: a key moves nothing`);
    if (!/^step \d+: \S/.test(said)) say(`${label}: says ${said}`);
    const shown = () => slider.evaluate(
      input => [...input.closest("figure").querySelectorAll(".hoverlayer text")].map(text => text.textContent).join("|"));
    const step = said.match(/\d+/)[0];
    await page.waitForFunction(([input, begin]) =>
      input.closest("figure").querySelector(".hoverlayer text")?.textContent === begin,
    [await slider.elementHandle(), `step ${step}`], {timeout: PATIENCE / 10}).catch(() => say(`${label}: step ${step} is not shown`));
    const text = await shown();
    const values = said.replace(/^step \d+: /, "").split("; ");
    if (values.length > lines.length) say(`${label}: more values than lines`);
    for (const value of values) {
      const number = value.match(/ (-?[\d.e-]+)( \(.*\))?$/)[1];
      if (!text.includes(number)) say(`${label}: says ${value}, shows ${text}`);
    }
    await slider.blur();
  }
}

// The slider of an image goes from picture to picture, and only what is seen is read out.
async function picturesBlend(page, say) {
  for (const viewer of await page.locator("figure.viewer").all()) {
    const slider = viewer.locator("input[type=range]"), label = await slider.getAttribute("aria-label");
    const shown = () => viewer.locator("img").evaluateAll(
      images => images.filter(image => getComputedStyle(image).visibility === "visible").map(image => image.alt));
    const expect = async (keys, said, alts) => {
      for (const key of keys) await page.keyboard.press(key);
      const text = await slider.getAttribute("aria-valuetext"), pictures = await shown();
      if (text !== said) say(`${label}: ${keys} gives ${text} instead of ${said}`);
      if (pictures.length !== alts) say(`${label}: ${keys} shows ${pictures}`);
    };
    await slider.focus();
    await expect(["Home"], "image", 1);
    await expect(["ArrowRight"], "75 % image, 25 % truth", 2);
    await expect(["PageUp"], "truth", 1);
    await expect(["PageUp", "PageUp"], "confidence", 1);
    await expect(["PageDown"], "prediction", 1);
    if (!(await shown())[0].endsWith(": prediction")) say(`${label}: shows ${await shown()} for the prediction`);
  }
}

// The Tab key comes to everything, shows where it is, and leaves the page at its end.
async function keyboardReaches(page, say) {
  const stops = await page.evaluate(() => {
    const top = document.querySelector("h1"); // where the Tab key begins
    top.tabIndex = -1;
    top.focus();
    top.removeAttribute("tabindex");
    return [...document.querySelectorAll("a[href], button, input, summary, [tabindex='0']")]
      .filter(e => e.tabIndex >= 0 && e.checkVisibility({visibilityProperty: true})).length;
  });
  const seen = new Set();
  for (let i = 0; i < stops + 1; i++) {
    await page.keyboard.press("Tab");
    const here = await page.evaluate(() => {
      const e = document.activeElement, style = getComputedStyle(e), box = e.getBoundingClientRect();
      window.stopNumbers ??= new Map();
      if (!window.stopNumbers.has(e)) window.stopNumbers.set(e, window.stopNumbers.size);
      return {
        number: window.stopNumbers.get(e), html: e.outerHTML.slice(0, 120), body: e === document.body,
        ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
        inside: box.bottom > 0 && box.top < innerHeight && box.width > 0,
        opacity: Math.min(...function* () { for (let p = e; p; p = p.parentElement) yield +getComputedStyle(p).opacity; }()),
      };
    });
    if (here.body) break;
    seen.add(here.number);
    if (!here.ring) say(`no ring around ${here.html}`);
    if (!here.inside || here.opacity < 0.9) say(`out of sight: ${here.html}`);
  }
  if (seen.size !== stops) say(`the Tab key comes to ${seen.size} of ${stops} places`);
}

// A watched page reloads itself only where its reader has asked for it, and goes on doing so.
async function reloads(page, say) {
  const box = page.locator(".reload input");
  if (!await box.count()) return;
  if (await box.isChecked()) say("reloads without being asked");
  const again = page.waitForEvent("load", {timeout: PATIENCE / 10});
  await box.focus();
  await page.keyboard.press("Space");
  await again.catch(() => say("does not reload"));
  await page.waitForFunction(() => document.querySelector(".reload input")?.checked, null, {timeout: PATIENCE / 10})
    .catch(() => say("forgets that it should reload"));
}

// Pictures side by side, words in the place of charts.
async function withoutScripts(path, say) {
  const context = await browser.newContext({...PHONE, javaScriptEnabled: false});
  const page = await context.newPage();
  await page.goto(pathToFileURL(path).href);
  const seen = async selector => page.locator(selector).evaluateAll(
    elements => elements.filter(e => !e.closest("details:not([open])") && e.checkVisibility() && e.offsetHeight > 4).length);
  const all = async selector => page.locator(selector).evaluateAll(
    elements => elements.filter(e => !e.closest("details:not([open])")).length);
  for (const kind of ["img", ".words"]) {
    if (await seen(kind) !== await all(kind)) say(`${await seen(kind)} of ${await all(kind)} ${kind} can be seen`);
  }
  if (await seen(".chart") || await seen("input")) say("an empty chart or a dead slider is shown");
  await context.close();
}
