-- Purchase behavior: cadence, basket, favorites, spending and returns; absent without a purchase.
--
-- first_purchase_at: Time of the first order.
-- last_purchase_at: Time of the newest purchase line.
-- days_between_orders: Mean number of days between orders; null for a single order.
-- items: Number of items bought.
-- products: Number of distinct products bought.
-- basket_value: Mean revenue of an order.
-- basket_items: Mean number of items of an order.
-- favourite_product: Product with the most purchase lines, then the most items, then the smallest id; null
--   if the customer bought nothing but postage, fees and the like.
-- favourite_category: Category of products with the most purchase lines, then the most items; null without
--   categories.
-- favourite_weekday: Weekday with the most orders (1 is Monday), then the most revenue, then the earliest.
-- favourite_hour: Hour with the most orders (0 to 23), then the most revenue, then the earliest.
-- spend_30d: Revenue in the 30 days up to as_of.
-- spend_90d: Revenue in the 90 days up to as_of.
-- spend_365d: Revenue in the 365 days up to as_of.
-- spend_trend: Revenue of the last 90 days minus the 90 before, over the sum; -1 to 1, null if both are 0.
-- return_rate: Amount of returns and reductions divided by revenue; null without revenue.
WITH buying AS (
    SELECT
        customer_id,
        count(*) AS orders,
        min(ordered_at) AS first_at,
        max(ordered_at) AS last_at,
        max(last_line_at) AS last_line_at,
        sum(items) AS items,
        sum(revenue) AS revenue,
        sum(CASE WHEN ordered_at > $as_of - INTERVAL '30 days' THEN revenue ELSE 0 END) AS spend_30d,
        sum(CASE WHEN ordered_at > $as_of - INTERVAL '90 days' THEN revenue ELSE 0 END) AS spend_90d,
        sum(CASE WHEN ordered_at > $as_of - INTERVAL '180 days' THEN revenue ELSE 0 END) AS spend_180d,
        sum(CASE WHEN ordered_at > $as_of - INTERVAL '365 days' THEN revenue ELSE 0 END) AS spend_365d,
        most_frequent(weekday, revenue) AS weekday,
        most_frequent(hour, revenue) AS hour
    FROM orders
    GROUP BY customer_id
),
bought AS (
    SELECT customer_id, product_id, category, quantity, is_product(product_id) AS is_product
    FROM transactions
    WHERE is_purchase
),
products AS (
    SELECT
        customer_id,
        distinct_count(product_id) AS products,
        most_frequent(product_id, quantity) FILTER (WHERE is_product) AS product_id,
        most_frequent(category, quantity) FILTER (WHERE is_product) AS category
    FROM bought
    GROUP BY customer_id
),
returned AS (
    SELECT customer_id, sum(amount) AS amount
    FROM returns
    GROUP BY customer_id
)
SELECT
    b.customer_id,
    b.first_at AS first_purchase_at,
    b.last_line_at AS last_purchase_at,
    CASE WHEN b.orders > 1 THEN
        CAST(CAST((CAST(b.last_at AS BIGINT) - CAST(b.first_at AS BIGINT)) / 1000000 AS DECIMAL(20, 2))
            / (86400 * (b.orders - 1)) AS DECIMAL(18, 2))
    END AS days_between_orders,
    b.items,
    p.products,
    CAST(b.revenue / b.orders AS DECIMAL(38, 4)) AS basket_value,
    CAST(CAST(b.items AS DECIMAL(20, 2)) / b.orders AS DECIMAL(18, 2)) AS basket_items,
    p.product_id AS favourite_product,
    p.category AS favourite_category,
    b.weekday AS favourite_weekday,
    b.hour AS favourite_hour,
    CAST(b.spend_30d AS DECIMAL(38, 4)) AS spend_30d,
    CAST(b.spend_90d AS DECIMAL(38, 4)) AS spend_90d,
    CAST(b.spend_365d AS DECIMAL(38, 4)) AS spend_365d,
    CASE WHEN b.spend_180d > 0 THEN
        CAST((2 * b.spend_90d - b.spend_180d) / b.spend_180d AS DECIMAL(9, 4))
    END AS spend_trend,
    CAST(coalesce(r.amount, 0) / nullif(b.revenue, 0) AS DECIMAL(38, 4)) AS return_rate
FROM buying b
JOIN products p ON p.customer_id = b.customer_id
LEFT JOIN returned r ON r.customer_id = b.customer_id
