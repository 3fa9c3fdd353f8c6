"""What a report does besides its figures and tables: copies a recipe, and shows its samples."""

from weightlens.report.samples_cards import CARDS
from weightlens.report.samples_script import CHOOSING, READING, WIRING

COPYING = """
for (const button of document.querySelectorAll('button.copy')) {
  button.addEventListener('click', async () => {
    const source = document.getElementById(button.dataset.copies);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = 'Copied';
    } catch {  // no clipboard here: what is selected can be copied by hand
      getSelection().selectAllChildren(source);
      button.textContent = 'Selected';
    }
    setTimeout(() => { button.textContent = 'Copy'; }, 2000);
  });
}
"""

_BESIDE = """
const beside = $('samples-heading').dataset.beside;
if (beside && beside !== $('a').value) {
  $('b').value = beside;
  $('b').dispatchEvent(new Event('change'));
}
"""

# names of its own, which those of the figures' script do not meet
VIEWING = "(() => {\n'use strict';" + READING + CARDS + CHOOSING + WIRING + _BESIDE + "})();"
