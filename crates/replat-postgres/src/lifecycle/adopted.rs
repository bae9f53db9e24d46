//! What other tools wrote down about the sets they manage.
