
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
            cand --preserve 'Preserve mode, ownership, timestamps, links, context, xattr or all'
            cand --no-preserve 'Do not preserve these attributes'
            cand --sparse 'Holes: auto keeps them, always turns zeros into them, never fills them'
            cand --reflink 'Clone files: auto, always, never'
            cand --update 'Replace all, none, none-fail or older files'
            cand --backup 'Same: none, numbered, existing or simple names'
            cand -S 'Suffix of simple backups [default: ~]'
            cand --suffix 'Suffix of simple backups [default: ~]'
            cand --exclude 'Exclude matching files, as in rsync'
            cand --include 'Include files that a later --exclude matches'
            cand --exclude-from 'Read --exclude patterns from FILE ("-": stdin)'
            cand --include-from 'Read --include patterns from FILE ("-": stdin)'
            cand --min-size 'Skip files smaller than SIZE'
            cand --max-size 'Skip files larger than SIZE'
            cand --files-from 'Copy only the paths listed in FILE, relative to SOURCE ("-": stdin)'
            cand --manifest 'Write BLAKE3 hashes to FILE ("-": stdout)'
            cand --direct 'Bypass the page cache with O_DIRECT: auto, always, never'
            cand --engine 'I/O engine for big files [default: kernel, else threads]'
            cand --queue-depth 'Blocks in flight, 1 to 4096'
            cand --block-size 'Block size, a power of two from 4K to 64M'
            cand --threads 'Worker threads, 1 to 1024'
            cand --bwlimit 'Limit reading to RATE per second, in KiB without a unit; 0: no limit'
            cand --journal-interval 'With --resume, bytes of a big file that may be copied twice'
            cand --progress 'Show progress: auto, always, never'
            cand --log-file 'Append events to FILE, one per line'
            cand --failed-list 'Write the paths that failed, for --files-from ("-": stdout)'
            cand --report 'Write an HTML report: rates, latencies, slow files, failures'
            cand --completions 'Print a completion script for bash, zsh, fish, elvish or powershell'
            cand -T 'Treat DEST as the copy''s name, merge trees'
            cand --no-target-directory 'Treat DEST as the copy''s name, merge trees'
            cand -r 'Accepted: directories are always recursive'
            cand --recursive 'Accepted: directories are always recursive'
            cand -p 'Preserve mode, times, owner and group'
            cand -a 'Preserve all: owners, xattrs, devices too'
            cand --archive 'Preserve all: owners, xattrs, devices too'
            cand --parents 'Recreate SOURCE''s leading directories under DIRECTORY'
            cand --strip-trailing-slashes 'Remove trailing slashes from each SOURCE'
            cand -L 'Follow all symbolic links in SOURCE'
            cand --dereference 'Follow all symbolic links in SOURCE'
            cand -P 'Copy symbolic links as links, even as SOURCE (default)'
            cand --no-dereference 'Copy symbolic links as links, even as SOURCE (default)'
            cand -H 'Follow symbolic links given as SOURCE'
            cand -d 'Same as -P --preserve=links'
            cand -x 'Stay on each SOURCE''s filesystem'
            cand --one-file-system 'Stay on each SOURCE''s filesystem'
            cand -l 'Hard link files instead of copying'
            cand --link 'Hard link files instead of copying'
            cand -s 'Make symbolic links instead of copying'
            cand --symbolic-link 'Make symbolic links instead of copying'
            cand --attributes-only 'Copy attributes only, no data'
            cand --no-sync 'Do not wait for the device'
            cand -i 'Ask before replacing a file'
            cand --interactive 'Ask before replacing a file'
            cand -n 'Never replace (rsync''s -n is --dry-run)'
            cand --no-clobber 'Never replace (rsync''s -n is --dry-run)'
            cand -u 'Replace only older files'
            cand -f 'Replace existing files with -l or -s'
            cand --force 'Replace existing files with -l or -s'
            cand --inplace 'Write into the files that are there instead of replacing them'
            cand --remove-destination 'Replace FIFOs, devices and links themselves too'
            cand -b 'Back up each file before replacing it'
            cand -0 'Entries in list files end in NUL, not newline'
            cand --from0 'Entries in list files end in NUL, not newline'
            cand --verify 'Read each copy back from the device'
            cand --resume 'Continue an interrupted --resume copy'
            cand --verify-only 'Compare DEST with SOURCE, and copy nothing'
            cand --repair 'Rewrite blocks that differ; with --verify-only also copy what is missing'
            cand -v 'Print each file when it is done'
            cand --verbose 'Print each file when it is done'
            cand -q 'Print errors only'
            cand --quiet 'Print errors only'
            cand --debug 'Print for each file whether I/O was direct, and why'
            cand --stats 'Print totals at the end'
            cand --json 'Print events and a summary as JSON lines on stdout'
            cand --dry-run 'Show what it would do (-n is --no-clobber)'
            cand --no-config 'Ignore the file of options that AIOCP_CONFIG_PATH names'
            cand -h 'Print help; --help lists all options'
            cand --help 'Print help; --help lists all options'
            cand -V 'Print the version, and the I/O engines'
            cand --version 'Print the version, and the I/O engines'
        }
    ]
    $completions[$command]
}
