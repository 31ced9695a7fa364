// Distributions of features, from the statistics of the build.

/**
 * A value, or a range of values, with the number of its customers.
 * @typedef {{count: number, from?: number, to?: number, value?: any}} Column
 */

/**
 * Figures of a feature. The quantiles are least, quarters, and greatest.
 * @typedef {{nulls: number, distinct: number | null, quantiles: any[] | null, columns: Column[]}} Summary
 */

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
