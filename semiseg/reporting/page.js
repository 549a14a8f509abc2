// Draws each figure in the page's own colours, and anew when these change between light and dark.
"use strict";

function template() {
  const style = getComputedStyle(document.documentElement);
  const [ink, quiet, rule, panel, heat, paper] = ["ink", "quiet", "rule", "panel", "heat", "paper"]
    .map(name => style.getPropertyValue("--" + name).trim());
  const font = {family: "system-ui, sans-serif", size: 11, color: ink};
  const axis = {
    gridcolor: rule, linecolor: rule, zerolinecolor: rule, tickfont: {color: quiet}, title: {font: {color: quiet}},
    spikecolor: quiet, spikethickness: 1,
  };
  const hoverlabel = {bgcolor: paper, bordercolor: quiet, font, namelength: 40};
  const layout = {
    font, paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)", xaxis: axis, yaxis: axis, hoverlabel,
    modebar: {bgcolor: "rgba(0,0,0,0)", color: quiet, activecolor: ink},
  };
  return {layout, data: {heatmap: [{colorscale: [[0, panel], [1, heat]]}]}};
}

function draw(chart) {
  if (chart.closest("details:not([open])")) return; // drawn when it is opened, at the width that it then has
  const figure = JSON.parse(chart.closest("figure").querySelector("script").textContent);
  figure.layout.template = template();
  const mouse = matchMedia("(hover: hover)").matches;
  if (!mouse) figure.layout.dragmode = false; // a finger scrolls the page
  Plotly.react(chart, figure.data, figure.layout, {
    responsive: true, displaylogo: false, displayModeBar: mouse ? "hover" : false,
    showSendToCloud: false, modeBarButtons: [["toImage", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
  });
}

function drawAll() {
  document.querySelectorAll(".chart").forEach(draw);
}

drawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
document.querySelectorAll("details").forEach(details => details.addEventListener("toggle", () =>
  details.querySelectorAll(".chart").forEach(draw)));
