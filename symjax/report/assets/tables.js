// Headings of the table of structures sort it: numbers by value, then texts.
for (const table of document.querySelectorAll('#structures table')) {
  table.querySelectorAll('thead th').forEach((head, column) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'sorts';
    button.append(...head.childNodes);
    head.replaceChildren(button);
    let up = false;
    button.addEventListener('click', () => {
      const body = table.tBodies[0], sign = up ? 1 : -1;
      const keyed = [...body.rows].map(row => {
        const text = row.cells[column].textContent.trim();
        const number = parseFloat(text.replaceAll(',', ''));
        return [Number.isNaN(number), Number.isNaN(number) ? text : number, row];
      });
      keyed.sort((a, b) =>
        a[0] !== b[0] ? a[0] - b[0] : sign * (a[1] < b[1] ? -1 : a[1] > b[1] ? 1 : 0));
      body.append(...keyed.map(each => each[2]));
      for (const other of table.querySelectorAll('thead th'))
        other.removeAttribute('aria-sort');
      head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      up = !up;
    });
  });
}

// What is wider than the screen says that it scrolls.
for (const hint of document.querySelectorAll('.scrolls')) {
  const next = hint.nextElementSibling;
  const box = next.matches('.scroll') ? next : next.querySelector('.scroll');
  const update = () => {
    hint.hidden = box.scrollWidth <= box.clientWidth + 1;
  };
  new ResizeObserver(update).observe(box);
  update();
}
