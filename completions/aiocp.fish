complete -c aiocp -s t -l target-directory -d 'Copy all SOURCEs into DIRECTORY' -r -f -a "(__fish_complete_directories)"
complete -c aiocp -l preserve -d 'Preserve mode, ownership, timestamps, links, context, xattr or all' -f -a "(__fish_complete_list , 'string split \  -- mode ownership timestamps links context xattr all')"
complete -c aiocp -l no-preserve -d 'Do not preserve these attributes' -r -f -a "(__fish_complete_list , 'string split \  -- mode ownership timestamps links context xattr all')"
complete -c aiocp -l sparse -d 'Holes: auto keeps them, always turns zeros into them, never fills them' -r -f -a "auto\t''
always\t''
never\t''"
complete -c aiocp -l reflink -d 'Clone files: auto, always, never' -f -a "auto\t''
always\t''
never\t''"
complete -c aiocp -l update -d 'Replace all, none, none-fail or older files' -f -a "all\t''
none\t''
none-fail\t''
older\t''"
complete -c aiocp -l backup -d 'Same: none, numbered, existing or simple names' -f -a "none\t''
numbered\t''
existing\t''
simple\t''"
complete -c aiocp -s S -l suffix -d 'Suffix of simple backups [default: ~]' -r
complete -c aiocp -l exclude -d 'Exclude matching files, as in rsync' -r
complete -c aiocp -l include -d 'Include files that a later --exclude matches' -r
complete -c aiocp -l exclude-from -d 'Read --exclude patterns from FILE ("-": stdin)' -r -F
complete -c aiocp -l include-from -d 'Read --include patterns from FILE ("-": stdin)' -r -F
complete -c aiocp -l min-size -d 'Skip files smaller than SIZE' -r
complete -c aiocp -l max-size -d 'Skip files larger than SIZE' -r
complete -c aiocp -l files-from -d 'Copy only the paths listed in FILE, relative to SOURCE ("-": stdin)' -r -F
complete -c aiocp -l manifest -d 'Write BLAKE3 hashes to FILE ("-": stdout)' -r -F
complete -c aiocp -l direct -d 'Bypass the page cache with O_DIRECT: auto, always, never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c aiocp -l engine -d 'I/O engine for big files [default: kernel, else threads]' -r -f -a "kernel\t'Kernel AIO for what is direct, threads for the rest'
posix\t'glibc\'s POSIX AIO'
threads\t'Threads that call pread and pwrite'"
complete -c aiocp -l queue-depth -d 'Blocks in flight, 1 to 4096' -r
complete -c aiocp -l block-size -d 'Block size, a power of two from 4K to 64M' -r
complete -c aiocp -l threads -d 'Worker threads, 1 to 1024' -r
complete -c aiocp -l bwlimit -d 'Limit reading to RATE per second, in KiB without a unit; 0: no limit' -r
complete -c aiocp -l journal-interval -d 'With --resume, bytes of a big file that may be copied twice' -r
complete -c aiocp -l progress -d 'Show progress: auto, always, never' -f -a "auto\t''
always\t''
never\t''"
complete -c aiocp -l log-file -d 'Append events to FILE, one per line' -r -F
complete -c aiocp -l failed-list -d 'Write the paths that failed, for --files-from ("-": stdout)' -r -F
complete -c aiocp -l report -d 'Write an HTML report: rates, latencies, slow files, failures' -r -F
complete -c aiocp -l completions -d 'Print a completion script for bash, zsh, fish, elvish or powershell' -r -f -a "bash\t''
elvish\t''
fish\t''
powershell\t''
zsh\t''"
complete -c aiocp -s T -l no-target-directory -d 'Treat DEST as the copy\'s name, merge trees'
complete -c aiocp -s r -l recursive -d 'Accepted: directories are always recursive'
complete -c aiocp -s p -d 'Preserve mode, times, owner and group'
complete -c aiocp -s a -l archive -d 'Preserve all: owners, xattrs, devices too'
complete -c aiocp -l parents -d 'Recreate SOURCE\'s leading directories under DIRECTORY'
complete -c aiocp -l strip-trailing-slashes -d 'Remove trailing slashes from each SOURCE'
complete -c aiocp -s L -l dereference -d 'Follow all symbolic links in SOURCE'
complete -c aiocp -s P -l no-dereference -d 'Copy symbolic links as links, even as SOURCE (default)'
complete -c aiocp -s H -d 'Follow symbolic links given as SOURCE'
complete -c aiocp -s d -d 'Same as -P --preserve=links'
complete -c aiocp -s x -l one-file-system -d 'Stay on each SOURCE\'s filesystem'
complete -c aiocp -s l -l link -d 'Hard link files instead of copying'
complete -c aiocp -s s -l symbolic-link -d 'Make symbolic links instead of copying'
complete -c aiocp -l attributes-only -d 'Copy attributes only, no data'
complete -c aiocp -l no-sync -d 'Do not wait for the device'
complete -c aiocp -s i -l interactive -d 'Ask before replacing a file'
complete -c aiocp -s n -l no-clobber -d 'Never replace (rsync\'s -n is --dry-run)'
complete -c aiocp -s u -d 'Replace only older files'
complete -c aiocp -s f -l force -d 'Replace existing files with -l or -s'
complete -c aiocp -l inplace -d 'Write into the files that are there instead of replacing them'
complete -c aiocp -l remove-destination -d 'Replace FIFOs, devices and links themselves too'
complete -c aiocp -s b -d 'Back up each file before replacing it'
complete -c aiocp -s 0 -l from0 -d 'Entries in list files end in NUL, not newline'
complete -c aiocp -l verify -d 'Read each copy back from the device'
complete -c aiocp -l resume -d 'Continue an interrupted --resume copy'
complete -c aiocp -l verify-only -d 'Compare DEST with SOURCE, and copy nothing'
complete -c aiocp -l repair -d 'Rewrite blocks that differ; with --verify-only also copy what is missing'
complete -c aiocp -s v -l verbose -d 'Print each file when it is done'
complete -c aiocp -s q -l quiet -d 'Print errors only'
complete -c aiocp -l debug -d 'Print for each file whether I/O was direct, and why'
complete -c aiocp -l stats -d 'Print totals at the end'
complete -c aiocp -l json -d 'Print events and a summary as JSON lines on stdout'
complete -c aiocp -l dry-run -d 'Show what it would do (-n is --no-clobber)'
complete -c aiocp -l no-config -d 'Ignore the file of options that AIOCP_CONFIG_PATH names'
complete -c aiocp -s h -l help -d 'Print help; --help lists all options'
complete -c aiocp -s V -l version -d 'Print the version, and the I/O engines'
