//! HPACK's Huffman code (RFC 7541, appendix B). The code is canonical, so the lengths say everything.

/// The bits of each byte's code; the last one is the end of the string.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
/// The longest code.
const BITS_MAX: usize = 30;
/// The symbol that ends a string, which must not be sent.
const END: u16 = 256;

/// The code by length: the first code of each length, how many there are, and where their symbols begin.
struct Table {
    first: [u32; BITS_MAX + 1],
    count: [u32; BITS_MAX + 1],
    at: [u32; BITS_MAX + 1],
    symbols: [u16; 257],
}

const TABLE: Table = table();

const fn table() -> Table {
    let mut table = Table {
        first: [0; BITS_MAX + 1],
        count: [0; BITS_MAX + 1],
        at: [0; BITS_MAX + 1],
        symbols: [0; 257],
    };
    let (mut bits, mut code, mut place) = (1, 0, 0);
    while bits <= BITS_MAX {
        code <<= 1;
        table.first[bits] = code;
        table.at[bits] = place;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == bits {
                table.symbols[place as usize] = symbol as u16;
                table.count[bits] += 1;
                place += 1;
                code += 1;
            }
            symbol += 1;
        }
        bits += 1;
    }
    table
}

/// Decodes a string; none if it is not one.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    static CODE: Table = TABLE;
    let mut out = Vec::with_capacity(bytes.len() * 2);
    let (mut code, mut length) = (0u32, 0usize);
    for byte in bytes {
        for shift in (0..8).rev() {
            code = code << 1 | u32::from(byte >> shift & 1);
            length += 1;
            if length > BITS_MAX {
                return None;
            }
            let offset = code.wrapping_sub(CODE.first[length]);
            if offset < CODE.count[length] {
                let symbol = CODE.symbols[(CODE.at[length] + offset) as usize];
                if symbol == END {
                    return None;
                }
                out.push(symbol as u8);
                (code, length) = (0, 0);
            }
        }
    }
    // What is left fills the last byte, and is the beginning of the end's code: ones.
    (length < 8 && code == (1 << length) - 1).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_the_standard_are_read() {
        // RFC 7541, C.4 and C.6.
        let host = [
            0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
        ];
        assert_eq!(decode(&host).unwrap(), b"www.example.com");
        let value = [0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf];
        assert_eq!(decode(&value).unwrap(), b"custom-value");
        assert_eq!(decode(&[0x64, 0x02]).unwrap(), b"302");
    }

    #[test]
    fn wrong_padding_and_the_end_itself_are_refused() {
        assert_eq!(decode(&[0x00]), None);
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(decode(&[0xff]), None);
    }
}
