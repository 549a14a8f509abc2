// Draws each figure in the page's own colours, and anew when these change between light and dark; answers the sliders.
"use strict";

function template() {
  const style = getComputedStyle(document.documentElement);
  const [ink, quiet, rule, panel, heat, paper] = ["ink", "quiet", "rule", "panel", "heat", "paper"]
    .map(name => style.getPropertyValue("--" + name).trim());
  const font = {family: "system-ui, sans-serif", size: 11, color: ink};
  const axis = {
    gridcolor: rule, linecolor: rule, zerolinecolor: rule, tickfont: {color: quiet}, title: {font: {color: quiet}},
    spikecolor: quiet, spikethickness: 1, unifiedhovertitle: {text: "step %{x}"},
  };
  const hoverlabel = {bgcolor: paper, bordercolor: quiet, font: {...font, size: 12}, namelength: 40};
  const layout = {
    font, paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)", xaxis: axis, yaxis: axis, hoverlabel,
    modebar: {bgcolor: "rgba(0,0,0,0)", color: quiet, activecolor: ink},
  };
  return {layout, data: {heatmap: [{colorscale: [[0, panel], [1, heat]]}]}};
}

async function draw(chart) {
  if (chart.closest("details:not([open])")) return; // drawn when it is opened, at the width that it then has
  const figure = JSON.parse(chart.closest("figure").querySelector("script").textContent);
  figure.layout.template = template();
  const mouse = matchMedia("(hover: hover)").matches;
  if (!mouse) figure.layout.dragmode = false; // a finger scrolls the page
  await Plotly.react(chart, figure.data, figure.layout, {
    responsive: true, displaylogo: false, displayModeBar: mouse ? "hover" : false,
    showSendToCloud: false, modeBarButtons: [["toImage", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
  });
  if (chart.closest(".matrix")) await fit(chart);
  describe(chart);
  const steps = chart.closest("figure").querySelector(".steps");
  if (steps && steps.hidden) goThroughSteps(steps, chart, figure.data);
}

// On a narrow screen the cells of a matrix are smaller: no empty space below them.
async function fit(chart) {
  const {_size: area, yaxis, height} = chart._fullLayout, used = Math.ceil(height - area.h + yaxis._length);
  if (used > height - 8) return;
  chart.style.height = `${used}px`;
  await Plotly.relayout(chart, {height: used});
}

// For screen readers the words beside a chart stand for its drawing; the buttons are one stop of the Tab key.
function describe(chart) {
  chart.querySelectorAll(".main-svg").forEach(svg => svg.setAttribute("aria-hidden", "true"));
  const bar = chart.querySelector(".modebar");
  if (!bar || bar.ariaLabel) return;
  bar.ariaLabel = "Tools, " + chart.closest("figure").querySelector("figcaption").textContent;
  const buttons = [...bar.querySelectorAll("button")];
  buttons.forEach((button, i) => { button.tabIndex = i ? -1 : 0; });
  bar.addEventListener("keydown", event => {
    const next = buttons.indexOf(document.activeElement) + {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (next in buttons) buttons[next].focus();
  });
}

// A slider below a curve shows, and says, the values of all lines at one step, as pointing at the chart does.
function goThroughSteps(slider, chart, lines) {
  const every = [...new Set(lines.flatMap(line => line.x))].sort((a, b) => a - b);
  slider.max = every.length - 1;
  slider.value = slider.max;
  slider.hidden = false;
  const plain = document.createElement("textarea"); // names are escaped for plotly
  const name = line => { plain.innerHTML = line.name; return plain.value; };
  const said = () => {
    const step = every[slider.value];
    const values = lines.map(line => [line, line.x.indexOf(step)]).filter(([line, i]) => i >= 0 && line.y[i] !== null);
    const words = values.map(([line, i]) => `${name(line)} ${+line.y[i].toPrecision(4)}${line.text ? line.text[i] : ""}`);
    slider.setAttribute("aria-valuetext", `step ${step}: ${words.join("; ") || "no value"}`);
    return {xval: step};
  };
  const below = () => { // the chart: its thumb stands under the step
    const {_size: area, xaxis} = chart._fullLayout;
    const [left, right] = [every[0], every.at(-1)].map(step => Math.min(area.w, Math.max(0, xaxis.l2p(step))));
    const width = Math.max(right - left, 48);
    slider.style.width = `${width + 16}px`; // 16: the thumb
    slider.style.marginLeft = `${area.l + Math.min(left, area.w - width) - 8}px`;
  };
  said();
  below();
  chart.on("plotly_afterplot", below);
  slider.addEventListener("input", () => Plotly.Fx.hover(chart, said()));
  slider.addEventListener("focus", () => Plotly.Fx.hover(chart, said()));
  slider.addEventListener("blur", () => Plotly.Fx.unhover(chart));
}

// Lays the pictures of an image on each other and blends from one to the next.
function stack(viewer) {
  const pictures = [...viewer.querySelectorAll(".pictures span")];
  viewer.classList.add("stacked");
  prepare(viewer.querySelector(".slider"), value => pictures.forEach((picture, i) => {
    const share = Math.max(0, i > value ? 1 - (i - value) : i > value - 1 ? 1 : 0); // the upper one of two is transparent
    picture.style.opacity = share;
    picture.style.visibility = share ? "visible" : "hidden"; // what is hidden is not read out either
  }));
}

function prepare(slider, show) {
  const input = slider.querySelector("input"), marks = [...slider.querySelectorAll(".marks span")];
  const kinds = marks.map(mark => mark.textContent);
  const update = () => {
    const value = +input.value, low = Math.floor(value), share = value - low;
    const percent = part => `${Math.round(100 * part)} %`;
    input.setAttribute("aria-valuetext",
      share ? `${percent(1 - share)} ${kinds[low]}, ${percent(share)} ${kinds[low + 1]}` : kinds[low]);
    marks.forEach((mark, i) => mark.classList.toggle("shown", Math.abs(i - value) < 1));
    show(value);
  };
  const go = value => { input.value = value; input.dispatchEvent(new Event("input")); };
  input.addEventListener("input", update);
  input.addEventListener("keydown", event => {
    const whole = {PageUp: Math.floor(+input.value) + 1, PageDown: Math.ceil(+input.value) - 1}[event.key];
    if (whole === undefined) return;
    event.preventDefault();
    go(whole);
  });
  marks.forEach((mark, i) => mark.addEventListener("click", () => go(i))); // for the mouse; keys have the slider
  slider.hidden = false;
  update();
}

function stackAll(group) {
  const viewers = [...group.querySelectorAll(".viewer")], all = group.querySelector(".all .slider");
  viewers.forEach(stack);
  if (all) {
    prepare(all, value => viewers.forEach(viewer => {
      const input = viewer.querySelector("input");
      input.value = value;
      input.dispatchEvent(new Event("input"));
    }));
  }
}

// Reloads the page of a run that goes on, if its reader asks for it.
function reloading(line) {
  const box = line.querySelector("input"), key = "semiseg reload " + location.pathname;
  let timer;
  const set = () => {
    clearTimeout(timer);
    if (box.checked) timer = setTimeout(() => location.reload(), 1000 * box.dataset.seconds);
  };
  try { box.checked = sessionStorage.getItem(key) === "yes"; } catch { /* no storage: asked anew after each reload */ }
  box.addEventListener("change", () => {
    try { sessionStorage.setItem(key, box.checked ? "yes" : "no"); } catch { /* as above */ }
    set();
  });
  line.hidden = false;
  set();
}

function drawAll() {
  document.querySelectorAll(".chart").forEach(draw);
}

drawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
document.querySelectorAll("details").forEach(details => details.addEventListener("toggle", () =>
  details.querySelectorAll(".chart").forEach(draw)));
document.querySelectorAll(".group").forEach(stackAll);
document.querySelectorAll(".reload").forEach(reloading);
