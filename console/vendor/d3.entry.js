export { extent, max } from "d3-array";
export { sankey, sankeyLinkHorizontal } from "d3-sankey";
export { scaleBand, scaleLinear, scaleUtc } from "d3-scale";
export { line } from "d3-shape";
