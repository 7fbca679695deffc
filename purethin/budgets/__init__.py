"""How much: costs as functions of widths, and the masks that keep within a budget."""
