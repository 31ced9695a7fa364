// Purchase lines: as orders, and as sums over time.

/**
 * A line of `GET /v1/customers/{id}/purchases`.
 * @typedef {object} Line
 * @property {string} at
 * @property {string} order_id
 * @property {string} product_id
 * @property {string | null} product
 * @property {number} quantity
 * @property {number} amount
 */

/** Number of months beyond which sums are those of years. */
const MOST_MONTHS = 120;

/**
 * Returns the orders of lines, in the order of their first lines.
 * @param {Line[]} lines
 */
export function ordersOf(lines) {
    const orders = new Map();
    for (const line of lines) {
        const id = line.order_id;
        if (!orders.has(id)) orders.set(id, { id, lines: [], amount: 0 });
        const order = orders.get(id);
        order.lines.push(line);
        order.amount += line.amount;
    }
    return [...orders.values()];
}

/**
 * Returns the amounts by month, the oldest first, up to the month of `asOf`; months without purchases have 0.
 * Long histories are in years. Where older lines are missing, the oldest period, which may be incomplete, is
 * left out.
 * @param {Line[]} lines The newest first.
 * @param {{asOf: string, isComplete: boolean}} range
 */
export function amountsOverTime(lines, { asOf, isComplete }) {
    if (lines.length === 0) return { unit: "month", periods: [] };
    const [first, last] = [lines.at(-1).at, asOf].map(monthOf);
    const unit = last - first < MOST_MONTHS ? "month" : "year";
    const size = unit === "month" ? 1 : 12;
    const begun = Math.floor(first / size);
    const indexOf = (month) => Math.floor(month / size) - begun;
    const amounts = Array(indexOf(last) + 1).fill(0);
    for (const { at, amount } of lines) amounts[indexOf(monthOf(at))] += amount;
    const periods = amounts.map((amount, index) => ({ start: startOf((begun + index) * size), amount }));
    return { unit, periods: isComplete || periods.length === 1 ? periods : periods.slice(1) };
}

/** Returns the number of months between the beginning of the calendar and a time. */
function monthOf(time) {
    const date = new Date(time);
    return date.getUTCFullYear() * 12 + date.getUTCMonth();
}

/** Returns the first instant of a month by number. */
function startOf(month) {
    const date = new Date(0);
    date.setUTCFullYear(Math.floor(month / 12), month % 12, 1);
    return date.toISOString();
}
