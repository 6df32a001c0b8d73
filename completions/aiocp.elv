
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
            cand --preserve 'Keep mode, ownership, timestamps, links, context, xattr or all'
            cand --no-preserve 'Do not keep this'
            cand --sparse 'Holes: auto keeps them, always makes them of zeros, never fills them'
            cand --reflink 'Clone files: auto, always, never'
            cand --update 'Replace all, none, none-fail (a failure) or older (the default) files'
            cand --backup 'The same, with names: none, numbered, existing (default), simple'
            cand -S 'What simple backups end in, instead of "~"'
            cand --suffix 'What simple backups end in, instead of "~"'
            cand --exclude 'Leave out what matches, as in rsync'
            cand --include 'Keep what matches, and a later --exclude would leave out'
            cand --exclude-from 'Read --exclude patterns from a file, one a line ("-": stdin)'
            cand --include-from 'Read --include patterns from a file, one a line ("-": stdin)'
            cand --min-size 'Leave out files that are smaller'
            cand --max-size 'Leave out files that are larger'
            cand --files-from 'Copy only the paths in a file, relative to SOURCE ("-": stdin)'
            cand --manifest 'Write each file''s BLAKE3 hash ("-": stdout)'
            cand --direct 'Go past the page cache with O_DIRECT: auto, always, never'
            cand --engine 'Who moves the blocks of big files [default: kernel, or threads where it cannot be had]'
            cand --queue-depth 'Blocks in flight, 1 to 4096'
            cand --block-size 'Bytes a block, a power of two from 4K to 64M'
            cand --threads 'Workers, 1 to 1024'
            cand --bwlimit 'Read at most so much a second, KiB without a unit; 0 for no limit'
            cand --journal-interval 'With --resume, bytes of a big file that may be copied again'
            cand --progress 'Show how far it is: auto, always, never'
            cand --log-file 'Add what happens to FILE, a line each'
            cand --failed-list 'Write what failed, for --files-from ("-": stdout)'
            cand --report 'Write a page about the run: rates, latencies, slow files, failures'
            cand --completions 'Print a completion script: bash, zsh, fish, elvish, powershell'
            cand -T 'Take DEST as the copy''s name: merge trees'
            cand --no-target-directory 'Take DEST as the copy''s name: merge trees'
            cand -r 'Accepted, as is -R: directories are always copied whole'
            cand --recursive 'Accepted, as is -R: directories are always copied whole'
            cand -p 'Keep owner and group too'
            cand -a 'Keep everything, also owners and devices'
            cand --archive 'Keep everything, also owners and devices'
            cand --parents 'Make again below DIRECTORY the folders that SOURCE names'
            cand --strip-trailing-slashes 'Take no notice of slashes at the end of a SOURCE'
            cand -L 'Follow all symbolic links in SOURCE'
            cand --dereference 'Follow all symbolic links in SOURCE'
            cand -P 'Copy symbolic links as links, also if named as SOURCE (default)'
            cand --no-dereference 'Copy symbolic links as links, also if named as SOURCE (default)'
            cand -H 'Follow symbolic links that are named as SOURCE'
            cand -d 'The same as -P --preserve=links'
            cand -x 'Do not go into directories on other filesystems'
            cand --one-file-system 'Do not go into directories on other filesystems'
            cand -l 'Make hard links to the files instead of copies'
            cand --link 'Make hard links to the files instead of copies'
            cand -s 'Make symbolic links to the files instead of copies'
            cand --symbolic-link 'Make symbolic links to the files instead of copies'
            cand --attributes-only 'Copy no data, only what --preserve names'
            cand --no-sync 'Do not wait for the device'
            cand -i 'Ask before a file is replaced'
            cand --interactive 'Ask before a file is replaced'
            cand -n 'Never replace (rsync''s -n is --dry-run)'
            cand --no-clobber 'Never replace (rsync''s -n is --dry-run)'
            cand -u 'Replace only what is older'
            cand -f 'With -l or -s, replace what exists (copies always do)'
            cand --force 'With -l or -s, replace what exists (copies always do)'
            cand --remove-destination 'Replace also FIFOs and devices, and not what a link leads to'
            cand -b 'Keep what is replaced, under another name'
            cand -0 'What these files hold ends in NUL instead of newline'
            cand --from0 'What these files hold ends in NUL instead of newline'
            cand --verify 'Read each file back from the device'
            cand --resume 'Go on where an interrupted --resume ended'
            cand --verify-only 'Copy nothing: compare DEST with SOURCE, both as their devices have them'
            cand --repair 'Write again what differs; with --verify-only also copy what is missing'
            cand -v 'Print each file when it is done'
            cand --verbose 'Print each file when it is done'
            cand --debug 'Print a line a file: direct or buffered, and why'
            cand --stats 'Print what was done in the end'
            cand --json 'Print a JSON object a line on stdout: what happened, and a summary'
            cand --dry-run 'Say what would be done (-n is --no-clobber)'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
    ]
    $completions[$command]
}
