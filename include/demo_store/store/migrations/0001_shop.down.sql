DROP TABLE orders;
DROP TABLE cart_items;
DROP TABLE carts;
DROP TABLE coupons;
DROP TABLE products;
