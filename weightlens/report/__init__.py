"""Tables for the terminal and pages for the browser, from the results of the other parts."""
