DROP TABLE gift_card_payments;
DROP TABLE gift_cards;
