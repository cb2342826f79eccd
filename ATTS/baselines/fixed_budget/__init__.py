"""A fixed number of take-overs a question and turn: the two controls of ATTS."""
