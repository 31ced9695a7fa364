-- Customer attributes: the columns of the customers files, and columns derived from transactions.
--
-- country: Country of the newest transaction, unless the customers files have this column.
-- created_at: Creation time of the customer, from the customers files.
-- first_seen_at: Earlier of created_at and the time of the first event.
SELECT * FROM customers
