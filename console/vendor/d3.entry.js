export { bisector, extent, max, min, ticks } from "d3-array";
export { sankey, sankeyLinkHorizontal } from "d3-sankey";
export { scaleBand, scaleLinear, scaleLog, scaleUtc } from "d3-scale";
export { area, curveMonotoneX, line } from "d3-shape";
