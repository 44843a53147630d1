CREATE TABLE wrapped_carts (
    cart_id TEXT PRIMARY KEY REFERENCES carts (id) ON DELETE CASCADE
);
