//! All that planning needs to know, from the catalogue.
