
use builtin;
use str;

set edit:completion:arg-completer[aiocp] = {|@words|
    fn spaces {|n|
        builtin:repeat $n ' ' | str:join ''
    }
    fn cand {|text desc|
        edit:complex-candidate $text &display=$text' '(spaces (- 14 (wcswidth $text)))$desc
    }
    var command = 'aiocp'
    for word $words[1..-1] {
        if (str:has-prefix $word '-') {
            break
        }
        set command = $command';'$word
    }
    var completions = [
        &'aiocp'= {
            cand -t 'Copy all SOURCEs into DIRECTORY'
            cand --target-directory 'Copy all SOURCEs into DIRECTORY'
            cand --manifest 'Write one b3sum line a file, sorted by path and relative to DEST ("-": stdout)'
            cand --sparse 'What becomes of zeros: auto keeps holes, always makes them, never fills them'
            cand --direct 'Whether to go past the page cache with O_DIRECT'
            cand --queue-depth 'Blocks in flight, 1 to 4096'
            cand --block-size 'Bytes a block, a power of two from 4K to 64M'
            cand --threads 'Workers, 1 to 1024'
            cand --completions 'Print the completion script for a shell'
            cand -T 'Take DEST as the copy''s own name, also if it is a directory'
            cand --no-target-directory 'Take DEST as the copy''s own name, also if it is a directory'
            cand -r 'Accepted for cp''s sake: directories are always copied whole'
            cand -R 'Accepted for cp''s sake: directories are always copied whole'
            cand --recursive 'Accepted for cp''s sake: directories are always copied whole'
            cand -v 'Print each file when it is done'
            cand --verbose 'Print each file when it is done'
            cand --no-sync 'Do not wait until data and names are on the device'
            cand --debug 'Print a line a file: direct or buffered, and why'
            cand --stats 'Print what was done in the end'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
    ]
    $completions[$command]
}
