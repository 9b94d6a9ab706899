//! Laws of the merge of answers (design rule: one that carries an id or a key is never dropped because of a conflict).
