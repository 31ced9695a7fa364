-- step
-- Recency, frequency and monetary value of every customer, before scoring.
WITH bought AS (
    SELECT customer_id, count(*) AS frequency, sum(revenue) AS revenue, max(last_line_at) AS last_at
    FROM orders
    GROUP BY customer_id
),
returned AS (
    SELECT customer_id, sum(amount) AS amount
    FROM returns
    GROUP BY customer_id
)
SELECT
    c.customer_id,
    b.last_at AS last_purchase_at,
    days_since(b.last_at) AS recency_days,
    coalesce(b.frequency, 0) AS frequency,
    CAST(coalesce(b.revenue, 0) - coalesce(r.amount, 0) AS DECIMAL(38, 4)) AS monetary,
    r.amount IS NOT NULL AS has_returns
FROM customers c
LEFT JOIN bought b ON b.customer_id = c.customer_id
LEFT JOIN returned r ON r.customer_id = c.customer_id
