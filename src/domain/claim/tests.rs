//! Laws of the claim.
