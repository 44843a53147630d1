INSERT INTO products (sku, name, category, description, price, vat_rate, stock, colour) VALUES
    ('LAMP-01', 'Copper table lamp', 'Light', 'Hand-turned copper, linen cord, a warm light to read by.', 7450, 2100, 40, '#c47a4a'),
    ('LAMP-02', 'Paper lantern', 'Light', 'Washi paper over bamboo. Folds flat, weighs nothing.', 1895, 2100, 150, '#e8d9b5'),
    ('LAMP-03', 'Wall sconce', 'Light', 'Brushed brass, opal glass, dimmable.', 5900, 2100, 25, '#b99a4b'),
    ('WOOL-01', 'Lambswool throw', 'Textiles', 'Woven in one piece, 130 by 180 cm, undyed.', 8900, 2100, 30, '#a8a29a'),
    ('WOOL-02', 'Cushion cover', 'Textiles', 'Herringbone, hidden zip, washable at 30 degrees.', 2450, 2100, 80, '#6b8f8a'),
    ('LINEN-01', 'Linen tea towel', 'Textiles', 'Gets better with every wash. Two colours of stripe.', 1295, 2100, 200, '#d9a5a0'),
    ('BOOK-01', 'The Weaver''s Notebook', 'Books', 'Ninety patterns with drafts, and the stories behind them.', 2495, 900, 60, '#4f6d8f'),
    ('BOOK-02', 'Light in Small Rooms', 'Books', 'A short book on where to put a lamp, and why.', 1850, 900, 75, '#7a6a9b'),
    ('TEA-01', 'Evening tea', 'Pantry', 'Lime blossom, mint and verbena, 80 g.', 695, 900, 300, '#8fa56a'),
    ('TEA-02', 'Smoked breakfast tea', 'Pantry', 'For the one who is up first, 100 g.', 845, 900, 300, '#6e4f3a');
INSERT INTO coupons (code, label, percent, minimum) VALUES
    ('WELCOME10', '10 % for your first order', 1000, 0),
    ('HOUSE15', '15 % from € 100', 1500, 10000);
