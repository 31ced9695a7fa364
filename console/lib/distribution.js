// Distributions of features: the statistics of the build, or for snapshots without them breakdowns by value
// or by quantile.

import { EVERYBODY, kindOf } from "./views.js";

const BUCKETS = 40;
const TOP = 8;
const COLUMNS = 28;
/** The histogram ends at this quantile: few great values would flatten all others. */
const SHOWN_SHARE = 0.95;

/** Returns the request for the distribution of a feature over all customers; null if it has none. */
export function distributionRequest({ name, type, view }) {
    const kind = kindOf(type);
    if (kind === "other" || view === "recommendations") return null;
    const isCounted = ["text", "boolean"].includes(kind) || type === "Int32";
    const breakdown = isCounted ? { feature: name, top: TOP } : { feature: name, buckets: BUCKETS };
    return { path: "/v1/audiences", body: { where: EVERYBODY, limit: 0, breakdown } };
}

/**
 * A value, or a range of values, with the number of its customers.
 * @typedef {{count: number, from?: number, to?: number, value?: any}} Column
 */

/**
 * Figures of a feature. The quantiles are least, quarters, and greatest.
 * @typedef {{nulls: number, distinct: number | null, quantiles: any[] | null, columns: Column[]}} Summary
 */

/**
 * Summarizes a breakdown.
 * @returns {Summary}
 */
export function summarize({ total, breakdown }) {
    const nulls = total ? breakdown.null / total : null;
    if (breakdown.values) {
        const other = breakdown.other ?? { values: 0, customers: 0 };
        const columns = breakdown.values.map(({ value, customers }) => ({ value, count: customers }));
        const distinct = breakdown.values.length + other.values;
        return {
            nulls,
            distinct,
            quantiles: null,
            columns,
            isUnique: distinct > (total - breakdown.null) / 2,
        };
    }
    const buckets = breakdown.buckets ?? [];
    if (buckets.length === 0) return { nulls, distinct: null, quantiles: null, columns: [] };
    const quantiles = QUARTERS.map((share) => quantile(buckets, share));
    return { nulls, distinct: null, quantiles, columns: histogram(buckets) };
}

const QUARTERS = [0, 0.25, 0.5, 0.75, 1];

/** Summarizes the statistics of a feature. @returns {Summary} */
export function summaryOf(
    { null_share: nulls, null: missing, distinct, quantiles = [], histogram = [], top = [] },
    customers,
) {
    const columns = (histogram.length > 0 ? histogram : top).map(({ customers: count, ...range }) => ({
        ...range,
        count,
    }));
    const at = (share) => quantiles.find((quantile) => quantile.share === share)?.value;
    return {
        nulls,
        distinct,
        quantiles: quantiles.length > 0 ? QUARTERS.map(at) : null,
        columns,
        isUnique: histogram.length === 0 && distinct > (customers - missing) / 2,
    };
}

/** Returns the value at a share of the members, from the ends of buckets. */
function quantile(buckets, share) {
    if (share === 0) return buckets[0].from;
    const members = buckets.reduce((sum, { customers }) => sum + customers, 0);
    let passed = 0;
    for (const { to, customers } of buckets) {
        passed += customers;
        if (passed >= members * share) return to;
    }
    return buckets.at(-1).to;
}

const asNumber = (value) => (typeof value === "number" ? value : Date.parse(value));

/** Spreads the members of the buckets over columns of equal width. */
function histogram(buckets) {
    const least = asNumber(buckets[0].from);
    const greatest = Math.max(asNumber(quantile(buckets, SHOWN_SHARE)), least);
    const width = (greatest - least) / COLUMNS || 1;
    const columns = Array.from({ length: greatest > least ? COLUMNS : 1 }, (_, index) => ({
        count: 0,
        from: least + index * width,
        to: least + (index + 1) * width,
    }));
    for (const bucket of buckets) {
        const [from, to] = [asNumber(bucket.from), asNumber(bucket.to)];
        for (const column of columns) {
            const isPoint =
                to === from && from >= column.from && (from < column.to || column === columns.at(-1));
            const common = Math.min(to, column.to) - Math.max(from, column.from);
            if (isPoint) {
                column.count += bucket.customers;
                break;
            }
            if (common > 0) column.count += bucket.customers * (common / (to - from));
        }
    }
    return columns;
}
