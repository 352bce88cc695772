//! Words for people, on a terminal.

/// A table as wide as its widest cells.
pub(crate) fn table(titles: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<_> = titles
        .iter()
        .enumerate()
        .map(|(column, title)| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([title.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = padded.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    let mut text = line(&mut titles.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["nova-compute".to_owned(), "a".to_owned()], vec!["x".to_owned(), "bcd".to_owned()]];
        assert_eq!(table(&["Binary", "Host"], &rows), "Binary        Host\nnova-compute  a\nx             bcd\n");
        assert_eq!(table(&["Binary"], &[]), "Binary\n");
    }
}
