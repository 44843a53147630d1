CREATE TABLE products (
    sku TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    category TEXT NOT NULL,
    description TEXT NOT NULL,
    price INTEGER NOT NULL CHECK (price > 0),      -- minor units, VAT included
    vat_rate INTEGER NOT NULL CHECK (vat_rate >= 0), -- basis points: 2100 is 21 %
    stock INTEGER NOT NULL CHECK (stock >= 0),
    colour TEXT NOT NULL
);
CREATE TABLE coupons (
    code TEXT PRIMARY KEY,
    label TEXT NOT NULL,
    percent INTEGER NOT NULL CHECK (percent BETWEEN 0 AND 10000), -- basis points
    minimum INTEGER NOT NULL DEFAULT 0                            -- minor units of goods
);
CREATE TABLE carts (
    id TEXT PRIMARY KEY,
    options TEXT NOT NULL DEFAULT '{}',
    created_at TEXT NOT NULL
);
CREATE TABLE cart_items (
    cart_id TEXT NOT NULL REFERENCES carts (id) ON DELETE CASCADE,
    sku TEXT NOT NULL REFERENCES products (sku),
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (cart_id, sku)
);
CREATE TABLE orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    token TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('customer', 'test')),
    status TEXT NOT NULL CHECK (status IN ('placed', 'cancelled')),
    email TEXT NOT NULL,
    name TEXT NOT NULL,
    address TEXT NOT NULL,
    quote TEXT NOT NULL,      -- JSON: lines, adjustments, shipping, VAT, total, as shown to the customer
    created_at TEXT NOT NULL
);
