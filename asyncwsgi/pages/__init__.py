"""The pages that the server shows itself: one stylesheet, and what makes a page with it."""
