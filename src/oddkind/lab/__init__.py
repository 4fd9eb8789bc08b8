"""The lecture's exercises, and the page that shows them."""
