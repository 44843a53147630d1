CREATE TABLE gift_cards (
    code TEXT PRIMARY KEY,
    balance INTEGER NOT NULL CHECK (balance >= 0)
);
CREATE TABLE gift_card_payments (
    order_number INTEGER NOT NULL,
    code TEXT NOT NULL REFERENCES gift_cards (code),
    amount INTEGER NOT NULL CHECK (amount > 0)
);
INSERT INTO gift_cards (code, balance) VALUES ('GIFT-2500', 2500), ('GIFT-9900', 9900), ('SHOP-TESTS', 100000);
