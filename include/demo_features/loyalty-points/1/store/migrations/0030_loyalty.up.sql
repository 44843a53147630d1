CREATE TABLE loyalty_points (
    order_number INTEGER PRIMARY KEY,
    email TEXT NOT NULL,
    points INTEGER NOT NULL CHECK (points >= 0),
    state TEXT NOT NULL CHECK (state IN ('booked', 'pending'))
);
CREATE INDEX loyalty_points_of ON loyalty_points (email);
