"""A small terminal: it keeps the screen that a program's output makes."""

import re

CSI = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z@])")
OTHER = re.compile(r"\x1b(\][^\x07]*\x07|[()][A-Z0-9]|[=>78])")
BASIC = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"]


class Terminal:
    """Rows of cells, each a character and its style: a tuple of words such as "bold"."""

    def __init__(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.cells = [self._empty() for _ in range(rows)]
        self.row = self.column = 0
        self.style = ()
        self.cursor = self.wraps = True
        self.pending = ""

    def _empty(self):
        return [(" ", ())] * self.columns

    def feed(self, text):
        """Takes output. An incomplete sequence at its end waits for the rest."""
        text = self.pending + text
        self.pending = ""
        at = 0
        while at < len(text):
            if text[at] != "\x1b":
                self._put(text[at])
                at += 1
            elif found := CSI.match(text, at):
                self._control(found[1], found[2])
                at = found.end()
            elif found := OTHER.match(text, at):
                at = found.end()
            elif len(text) - at < 32:
                self.pending = text[at:]
                return
            else:
                at += 1

    def _put(self, char):
        if char == "\r":
            self.column = 0
        elif char == "\n":
            self._down()
        elif char == "\b":
            self.column = max(self.column - 1, 0)
        elif char >= " ":
            if self.column == self.columns and not self.wraps:
                self.column -= 1
            elif self.column == self.columns:
                self.column = 0
                self._down()
            self.cells[self.row][self.column] = (char, self.style)
            self.column += 1

    def _down(self):
        if self.row + 1 < self.rows:
            self.row += 1
        else:
            self.cells = [*self.cells[1:], self._empty()]

    def _control(self, numbers, letter):
        if numbers.startswith("?"):
            if numbers == "?25":
                self.cursor = letter == "h"
            elif numbers == "?7":
                self.wraps = letter == "h"
            return
        values = [int(number or 0) for number in numbers.split(";")]
        count = max(values[0], 1)
        if letter == "A":
            self.row = max(self.row - count, 0)
        elif letter == "B":
            self.row = min(self.row + count, self.rows - 1)
        elif letter == "C":
            self.column = min(self.column + count, self.columns - 1)
        elif letter == "D":
            self.column = max(self.column - count, 0)
        elif letter == "G":
            self.column = min(count, self.columns) - 1
        elif letter == "H":
            column = max(values[1], 1) if len(values) > 1 else 1
            self.row, self.column = min(count, self.rows) - 1, min(column, self.columns) - 1
        elif letter == "K":
            self._erase_line(values[0])
        elif letter == "J":
            self._erase_screen(values[0])
        elif letter == "m":
            self._set_style(values)
        else:
            raise ValueError(f"the sequence CSI {numbers}{letter} is not known")

    def _erase_line(self, what):
        start = self.column if what == 0 else 0
        end = self.column + 1 if what == 1 else self.columns
        for column in range(start, min(end, self.columns)):
            self.cells[self.row][column] = (" ", ())

    def _erase_screen(self, what):
        if what == 0:
            self._erase_line(0)
            rows = range(self.row + 1, self.rows)
        else:
            rows = range(self.rows)
        for row in rows:
            self.cells[row] = self._empty()

    def _set_style(self, values):
        values = list(values)
        while values:
            value = values.pop(0)
            if value == 0:
                self.style = ()
            elif value in (1, 2):
                self.style = (*self.style, "bold" if value == 1 else "dim")
            elif value == 22:
                self.style = tuple(s for s in self.style if s not in ("bold", "dim"))
            elif 30 <= value <= 37 or 90 <= value <= 97:
                self._colour(BASIC[value % 10])
            elif value == 39:
                self._colour(None)
            elif value == 38 and values[:1] == [5]:
                self._colour(BASIC[values[1] % 8])
                del values[:2]

    def _colour(self, name):
        style = tuple(s for s in self.style if s not in BASIC)
        self.style = style if name is None else (*style, name)

    def snapshot(self):
        """What is seen: each row as runs of text of one style, and where the cursor is."""
        rows = []
        for cells in self.cells:
            runs = []
            for column, (char, style) in enumerate(cells):
                if runs and runs[-1][2] == style:
                    runs[-1][1] += char
                else:
                    runs.append([column, char, style])
            rows.append(tuple((c, t.rstrip(), s) for c, t, s in runs if t.strip()))
        return tuple(rows), (self.row, self.column) if self.cursor else None

    def line(self):
        """The text of the row of the cursor."""
        return "".join(char for char, _ in self.cells[self.row]).rstrip()

    def text(self):
        """All rows."""
        return "\n".join("".join(char for char, _ in cells).rstrip() for cells in self.cells)
