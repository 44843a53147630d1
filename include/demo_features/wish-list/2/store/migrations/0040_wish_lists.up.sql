CREATE TABLE wish_lists (id TEXT PRIMARY KEY);
CREATE TABLE wishes (
    list_id TEXT NOT NULL REFERENCES wish_lists (id) ON DELETE CASCADE,
    sku TEXT NOT NULL REFERENCES products (sku),
    PRIMARY KEY (list_id, sku)
);
